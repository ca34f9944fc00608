"""Where the parts meet: optimiser, step, devices, loop, evaluation, checkpoints."""
