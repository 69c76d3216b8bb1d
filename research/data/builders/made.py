"""Datasets made in memory from what is installed, and splits that keep together what belongs together."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from research.data.builders.local import LocalBuilder, LocalInfo

Examples = Sequence[dict[str, Any]]

SHARES = {"train": 0.8, "validation": 0.1, "test": 0.1}


class Made(LocalBuilder, skip_registration=True):  # type: ignore[call-arg]
    """What the builders share. What they hold depends on versions, so its SHA-256 is written down beside it."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "Splits share no topic, module, date or word."}
    description: str
    features: dict[str, Any]

    def make(self) -> tuple[dict[str, Examples], str]:
        """Return the examples of each split, the same wherever the versions are, and where they come from."""
        raise NotImplementedError

    def _info(self) -> Any:
        """Describe an example; needs nothing installed."""
        return LocalInfo(
            builder=self,
            description=self.description,
            features=tfds.features.FeaturesDict(self.features),
            metadata=tfds.core.MetadataDict(),
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[tuple[int, dict[str, Any]]]]:
        """Make all splits, and note where they come from."""
        splits, source = self.make()
        self.info.metadata.update(source=source, sha256=hashlib.sha256(json.dumps(splits).encode()).hexdigest())
        return {name: self._generate_examples(examples) for name, examples in splits.items()}

    def _generate_examples(self, examples: Examples) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield numbered examples; TFDS orders them by a hash of the number, the same on every machine."""
        yield from enumerate(examples)


def by_group(examples: Examples, groups: Sequence[str], sizes: Sequence[int]) -> dict[str, Examples]:
    """Return splits of about `SHARES` of the total size, none of which shares a group with another.

    Groups are shuffled by a fixed seed and laid end to end; a group belongs to the split in which its middle lies.
    """
    totals: dict[str, int] = {}
    for group, size in zip(groups, sizes, strict=True):
        totals[group] = totals.get(group, 0) + size
    shuffled = np.random.default_rng(0).permutation(sorted(totals)).tolist()
    extents = np.array([totals[group] for group in shuffled])
    middles = (np.cumsum(extents) - extents / 2) / extents.sum()
    cuts = np.cumsum(list(SHARES.values()))[:-1]
    places = dict(zip(shuffled, np.searchsorted(cuts, middles).tolist(), strict=True))
    return {
        name: [example for example, group in zip(examples, groups, strict=True) if places[group] == place]
        for place, name in enumerate(SHARES)
    }
