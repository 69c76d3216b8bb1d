"""What runs are made from, for `python -m tests.training.any_process FOLDER`: the same in any process.

It prepares the datasets of `FAMILIES` in the folder, trains one run there, and prints what both came to.
"""

import json
import sys
from pathlib import Path

from research.experiment import RunOptions, fingerprint
from research.training import restore, train
from research.training.loop import open_splits
from research.training.storage.checkpoints.manifest import digests
from tests.families import FAMILIES

TRAINED = "TransformerClassifier"
"""Of words, so that its vocabulary decides its numbers."""


def main(root: Path) -> None:
    """Print a JSON object about every family, and the digests of a state."""
    options = RunOptions(
        data_dir=str(root / "data"), log_every=1, evaluate_every=2, checkpoint_every=3, progress="none", pictures=False
    )
    for name, experiment in FAMILIES.items():
        print(json.dumps({"family": name, "fingerprint": fingerprint(experiment)}))
    for data, experiment in {experiment.data: experiment for experiment in FAMILIES.values()}.items():
        opened = open_splits(experiment, options)
        files = data.files(options.data_dir)
        print(json.dumps({**{name: digests(split.arrays()) for name, split in opened.items()}, "files": files}))
    train(FAMILIES[TRAINED], root / "run", options)
    print(json.dumps(digests(restore(root / "run")[1])))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
