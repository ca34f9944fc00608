"""A finished run -> a directory with the whole model, for this package and for others."""
