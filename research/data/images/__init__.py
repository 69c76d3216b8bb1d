"""Images: of TFDS or a folder, and their augmentation."""
