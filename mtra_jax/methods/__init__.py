"""Multi-task methods: their parameters, losses and gradients."""
