"""A configuration and a work directory -> a trained run, epoch by epoch."""
