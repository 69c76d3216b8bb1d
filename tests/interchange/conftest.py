"""Published folders."""

import json

import pytest

from research.interchange import read_tensors, write_tensors
from tests.golden.folders import FAMILIES as CASES
from tests.golden.folders import write


@pytest.fixture(scope="module")
def theirs(tmp_path_factory):
    """The folders of all cases, as transformers wrote them."""
    root = tmp_path_factory.mktemp("theirs")
    for case in CASES:
        write(case, root / case)
    return root


@pytest.fixture
def changed(theirs, tmp_path):
    """Writes a folder again with other tensors, and other entries of its config.json; None takes one out."""

    def change(case, tensors=None, **entries):
        config = json.loads((theirs / case / "config.json").read_text()) | entries
        (tmp_path / "config.json").write_text(
            json.dumps({name: entry for name, entry in config.items() if entry != ()})
        )
        read, _ = read_tensors(theirs / case / "model.safetensors")
        read |= {} if tensors is None else tensors(read)
        write_tensors(
            tmp_path / "model.safetensors", {name: array for name, array in read.items() if array is not None}
        )
        return tmp_path

    return change
