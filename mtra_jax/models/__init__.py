"""Packed tokens -> hidden states, outputs; Hugging Face weights <-> parameters."""
