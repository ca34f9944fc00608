"""Names of `import mtra_jax`: train and load models, predict, encode, evaluate."""
