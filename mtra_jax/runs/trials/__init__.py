"""One planned run of many: its configuration, tuned values, and score on validation."""
