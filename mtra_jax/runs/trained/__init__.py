"""A finished run -> scores, predictions, representations, analyses and their pictures."""
