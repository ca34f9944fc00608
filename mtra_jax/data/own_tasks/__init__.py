"""A TOML file of tasks, or Python lists -> checked tasks and examples, or warnings."""
