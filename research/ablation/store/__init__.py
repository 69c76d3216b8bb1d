"""The folder of a study: what was asked for, what came of it, and who is at it."""
