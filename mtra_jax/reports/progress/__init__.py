"""A run as it trains and ends -> bars, lines, tables of its epochs and its results."""
