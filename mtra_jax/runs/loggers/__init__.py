"""Figures of a run -> TensorBoard, experiment trackers; `registry.LOGGERS` lists them."""
