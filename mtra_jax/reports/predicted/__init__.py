"""Predictions -> files and answers: labels, values, rows of a table."""
