"""Tokens of all tasks -> the plan of an epoch and its packed batches, in few shapes."""
