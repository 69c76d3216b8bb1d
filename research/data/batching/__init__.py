"""From examples to batches: which examples a step takes, and how they get to it."""
