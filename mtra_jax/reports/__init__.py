"""Predictions, figures and progress -> files, tables and lines of text."""
