"""What a run shows: progress, learning curves, examples, slow operations."""
