"""What is varied: axes, spaces, cells, and the trials of a study."""
