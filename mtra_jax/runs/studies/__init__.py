"""Experiments of the papers: the runs that they need, their tables and pictures."""
