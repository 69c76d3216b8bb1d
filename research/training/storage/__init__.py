"""The run folder: its lock, journal and checkpoints, and what can be read back from it."""
