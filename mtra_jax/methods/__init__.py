"""Multi-task methods: what each adds to the model, its losses, its gradient."""
