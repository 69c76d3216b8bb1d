"""What every Transformer is made of, over text or over images."""
