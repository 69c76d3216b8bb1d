"""A run before its first step: whether its parts fit, and which parameters it starts from."""
