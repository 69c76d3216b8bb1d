"""What networks over images are made of."""
