"""A short name of a value: a hash of what differs from the defaults."""

import hashlib
import json

from research.experiment.encoding import encode
from research.experiment.moved import changed
from research.experiment.value import Experiment


def fingerprint(experiment: Experiment) -> str:
    """Return ten hexadecimal digits that name an experiment apart from its seed.

    They hash the fields that differ from their defaults, so a new field keeps old fingerprints, and so does one that
    moved (`research.experiment.moved`). A changed default can alias two experiments: the full value stored in a run
    folder is compared whenever the folder is used again.
    """
    encode(experiment)  # refuses arrays, which cannot be compared with a default
    tree = encode(experiment, fields=changed)
    tree.pop("seed", None)
    return hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()[:10]
