"""Tasks and texts -> prompts of a language model, its answers, and their scores."""
