"""TFDS builders for labelled sequences of vectors."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from research.data import splits
from research.data.builders.installed import Installed
from research.data.builders.local import LocalBuilder, LocalInfo

_FOLDER = "datasets/data/JapaneseVowels/JapaneseVowels"


class JapaneseVowels(LocalBuilder, skip_registration=True):  # type: ignore[call-arg]
    """Nine men say "ae" (Kudo, Toyama & Shimbo 1999): 640 utterances, 12 coefficients a frame, 7 to 29 frames; who?

    The 370 test utterances are the published ones. Validation is 6 of the 30 training utterances of every speaker.
    """

    name = "japanese_vowels"
    unit = "speaker"
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "The published test split; a fifth of every speaker's training utterances validates."}
    files = {
        part: Installed(
            package="aeon",
            distribution="aeon",
            file=f"{_FOLDER}_{part.upper()}.ts",
            install='pip install "ceteris-research[vowels]"',
            digest=digest,
        )
        for part, digest in (
            ("train", "21d4257916d7599d5a2574577b82ca1909fcee0865cf9792c66b0450327d71e5"),
            ("test", "237cdff4a86c80c4ead8aadc031150c78156ed2a21f5779f8d0ada08aadbb09a"),
        )
    }

    def _info(self) -> Any:
        """Describe an utterance; needs neither the package nor its files."""
        return LocalInfo(
            builder=self,
            description="640 utterances of a diphthong by nine speakers, as shipped by aeon.",
            supervised_keys=("features", "label"),
            features=tfds.features.FeaturesDict(
                {
                    "features": tfds.features.Tensor(shape=(None, 12), dtype=np.float32),
                    "label": tfds.features.ClassLabel(num_classes=9),
                }
            ),
            metadata=tfds.core.MetadataDict(),
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[tuple[int, dict[str, Any]]]]:
        """Keep the published test split and split every speaker's training utterances."""
        examples = {}
        for part, file in self.files.items():
            text, origin = file.read()
            sequences, labels = parse(text)
            file.check(*sequences, labels)
            examples[part] = sequences, labels
            self.info.metadata.update({f"{part}_{name}": item for name, item in origin.items()})
        _, labels = examples["train"]
        parts = splits.stratified(labels, {"train": 0.8, "validation": 0.2})
        return {
            **{name: self._generate_examples(*examples["train"], indices) for name, indices in parts.items()},
            "test": self._generate_examples(*examples["test"], np.arange(len(examples["test"][1]))),
        }

    def _generate_examples(
        self, sequences: list[np.ndarray], labels: np.ndarray, indices: np.ndarray
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield numbered utterances; TFDS orders them by a hash of the number, the same on every machine."""
        for index in indices.tolist():
            yield index, {"features": sequences[index], "label": int(labels[index])}


def parse(text: str) -> tuple[list[np.ndarray], np.ndarray]:
    """Return sequences, each [l, d] float32, and labels [n] from 0, of a `.ts` file.

    A line is an example: channels separated by colons, each comma-separated over time, then a label that counts from 1.
    """
    rows = [line.split(":") for line in text.splitlines() if line.strip() and line[0] not in "#@"]
    sequences = [np.array([channel.split(",") for channel in row[:-1]], np.float32).T.copy() for row in rows]
    return sequences, np.array([int(row[-1]) - 1 for row in rows], np.int32)
