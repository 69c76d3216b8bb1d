"""What describes a dataset that is made on this machine."""

from typing import ClassVar

import tensorflow_datasets as tfds


class LocalBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """What our builders share. They stay out of the global TFDS registry, where a name can be taken only once."""

    unit: ClassVar[str | None] = None
    """What several examples are of, so that they are not independent of each other; None where nothing is known."""


class LocalInfo(tfds.core.DatasetInfo):
    """Nothing about the dataset is looked up elsewhere."""

    def initialize_from_bucket(self) -> None:
        """Do nothing: TFDS would make a temporary folder each time and leave it behind."""
