"""Predictions and figures in, files and tables for people and other tools out."""
