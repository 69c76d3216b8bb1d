"""A TFDS dataset by name, with splits that share no example."""

import dataclasses
import itertools
import json
from typing import get_args

from research.data.source import Data
from research.data.splits import Split
from research.data.storage import catalog, digests
from research.data.storage.records import Part, Source
from research.errors import UsageError, suggestion


@dataclasses.dataclass(frozen=True)
class Dataset(Data):
    """What every dataset with a name in TFDS has in common: the name, and which examples a split holds.

    Datasets that ship inside installed packages are prepared when first opened; every other dataset is prepared once by
    `python -m research.data prepare NAME`.
    """

    name: str
    """TFDS dataset."""
    train: str | None = None
    """TFDS split expression such as "train[:800]"; None: "train"."""
    validation: str | None = None
    """TFDS split expression; None: "validation", or where there is none the last tenth of train, which loses it."""
    test: str | None = None
    """TFDS split expression; None: "test"."""
    sha256: str = dataclasses.field(default="", kw_only=True)
    """Digest of the file or folder that is read, as `found` gives it: where it is set, anything else is refused."""

    def digest(self) -> str:
        """Return the digest of the file or folder at `name`; "" where that is a dataset, whose version is its own."""
        return ""

    def check_digest(self) -> None:
        """Raise `UsageError` where what lies at `name` is not what this value is about."""
        digests.check(self.name, self.sha256, self.digest)

    def source(self, split: Split, data_dir: str | None = None) -> Source:
        """Return random access to the examples of a split as TFDS gives them, preparing it where that needs no network.

        Args:
            split: "train", "validation" or "test", as this value defines them.
            data_dir: where prepared datasets are kept; None: TFDS_DATA_DIR, else ~/tensorflow_datasets.

        Raises:
            UsageError: unknown dataset or split, splits that share examples, a dataset that is not prepared, or a
                folder that cannot be written.
        """
        if split not in get_args(Split):
            raise UsageError(f'unknown split "{split}"{suggestion(split, get_args(Split))}')
        builder = catalog.prepared(self.name, data_dir)
        carved = self.validation is None and "validation" not in builder.info.splits
        train = self.train or "train"
        expressions = {
            "train": train,
            "validation": train if carved else self.validation or "validation",
            "test": self.test or "test",
        }
        opened = {name: catalog.source(builder, expression) for name, expression in expressions.items()}
        for one, other in itertools.combinations(expressions, 2):
            carves = carved and (one, other) == ("train", "validation")  # cut from each other below
            if not carves and (n := catalog.shared(builder, expressions[one], expressions[other])):
                raise UsageError(
                    f'data.{one} "{expressions[one]}" and data.{other} "{expressions[other]}" share {n} examples '
                    f'of "{self.name}"; choose splits that do not'
                )
        source = opened[split]
        if carved and split != "test":
            cut = len(source) - len(source) // 10
            source = Part(source, 0, cut) if split == "train" else Part(source, cut, len(source))
        if not len(source):
            raise UsageError(f'the {split} split of "{self.name}" has no examples')
        return source

    def files(self, data_dir: str | None = None) -> dict[str, str]:
        """Return `dataset.json`: name, version and splits of the dataset, and what its preparation wrote down."""
        builder = catalog.prepared(self.name, data_dir)
        described = {
            "dataset": builder.info.full_name,
            "splits": {name: split.num_examples for name, split in builder.info.splits.items()},
            "metadata": dict(builder.info.metadata or {}),
        }
        return {"dataset.json": json.dumps(described, indent=2) + "\n"}
