"""The compiled program: step, optimiser, devices, evaluation."""
