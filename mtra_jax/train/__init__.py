"""Compiled programs: training step, optimiser, devices, evaluation."""
