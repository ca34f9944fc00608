"""A run in its directory: from a configuration to trained files, results and tables."""
