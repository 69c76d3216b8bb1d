"""Where examples are kept: datasets of TFDS by name, folders of files, and random access to them."""
