"""The commands of `mtra-jax`, one module each; `scripts/` calls the same functions."""
