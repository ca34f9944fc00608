"""Packed tokens -> hidden states and outputs; Hugging Face weights -> parameters, and back."""
