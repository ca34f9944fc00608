"""Predictions, figures and progress -> files, tables and lines for people and tools."""
