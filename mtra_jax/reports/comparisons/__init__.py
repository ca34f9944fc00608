"""Runs of one table -> rows, their noise, what keeps them from being compared; formats."""
