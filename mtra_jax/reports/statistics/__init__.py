"""Figures of seeds and rows -> means, intervals, p-values, ranks."""
