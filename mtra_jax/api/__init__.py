"""What `import mtra_jax` offers: train and load models, predict, encode, evaluate."""
