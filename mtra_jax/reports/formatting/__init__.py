"""Columns and rows of figures -> aligned text, Markdown, LaTeX, CSV."""
