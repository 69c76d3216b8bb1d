"""One step: its state, gradient and update."""
