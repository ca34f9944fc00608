"""Packed tokens in, hidden states and outputs out; Hugging Face weights in and out."""
