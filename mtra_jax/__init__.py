"""Multi-Task Representation Alignment (MTRA) for BERT and RoBERTa encoders, in JAX."""
