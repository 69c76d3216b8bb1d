"""TFDS builders for what ships inside installed packages; none needs TensorFlow. Imported when a dataset is used."""

from research.data.builders.images import Digits, Mnist5k

OWN = {builder.name: builder for builder in (Digits, Mnist5k)}
