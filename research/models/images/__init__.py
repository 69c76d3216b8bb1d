"""Networks over images, by family, and what the families share."""
