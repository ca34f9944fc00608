"""Runs of one table -> rows, what keeps them from being compared, and its formats."""
