"""A search over hyper-parameters: its points, its trials and the best values."""
