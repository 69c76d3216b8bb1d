"""Ceteris: state an experiment as a value, change one thing, learn whether it mattered."""
