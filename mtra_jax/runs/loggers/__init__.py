"""Figures of a run -> TensorBoard and experiment trackers; `registry.LOGGERS` lists them."""
