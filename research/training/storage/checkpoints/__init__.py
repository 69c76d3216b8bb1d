"""States on disk: written with a digest of every leaf, compared with it when they are read."""
