"""What earlier versions wrote is read, and hashes as it did then.

`tests/fixtures/fingerprints.json` has experiments and fingerprints as commit 0faec0e wrote them.
"""

import copy
import dataclasses
import json
from pathlib import Path

import pytest

from research.errors import UsageError
from research.experiment import Pretrained, Safety, Start, fingerprint, from_json, modern_override, replace, to_json
from tests.experiment.values import BASE

WRITTEN = json.loads((Path(__file__).parents[1] / "fixtures" / "fingerprints.json").read_text())


def test_there_are_some_with_everything_that_moved():
    assert len(WRITTEN) >= 20
    trees = [item["experiment"] for item in WRITTEN.values()]
    assert {tree["start"]["class"] for tree in trees if tree["start"]} == {"Start", "Pretrained"}
    assert {"skip", "rewind"} < {tree["nonfinite"] for tree in trees}
    assert {0.0, 6.0} == {tree["spike"] for tree in trees}
    assert any(tree["model"].get("forward_mode") for tree in trees)


@pytest.mark.parametrize("name", WRITTEN)
def test_it_is_read_and_has_the_fingerprint_it_had(name):
    experiment = from_json(json.dumps(WRITTEN[name]["experiment"]))
    assert fingerprint(experiment) == WRITTEN[name]["fingerprint"]
    assert from_json(to_json(experiment)) == experiment


def test_what_moved_is_where_it_stands_now():
    found = {name: from_json(json.dumps(item["experiment"])) for name, item in WRITTEN.items()}
    assert found["digits_cnn, nonfinite=rewind and spike=6"].safety == Safety("rewind", 6.0)
    assert found["digits_cnn"].start == () and found["digits_cnn"].safety == Safety()
    assert found["mnist5k_resnet from a file"].start == (Pretrained("", "f00d", ("stem", "stage_0")),)
    (start,) = found["bert_docstrings after a run that skips"].start
    assert start.parameters == ("bert",) and start.experiment.safety == Safety("skip", 6.0)
    assert found["digits_cnn, forward_mode=true"].forward_mode


def test_what_no_earlier_version_could_say_has_a_fingerprint_of_its_own():
    first, second = Start(BASE, ("block_0",)), Start(replace(BASE, {"steps": 3}), ("block_1",))
    values = [replace(BASE, {"start": start}) for start in ((), (first,), (second,), (first, second), (second, first))]
    values += [replace(BASE, {"start": (dataclasses.replace(first, parameters=(("block_0", "block_1"),)),)})]
    assert len({fingerprint(value) for value in values}) == len(values)


@pytest.mark.parametrize(
    "written", [{"spike": -1.0}, {"nonfinite": "stopp"}, {"start": 3}, {"start": {"class": "Strat"}}]
)
def test_a_wrong_value_in_its_old_place_is_refused(written):
    tree = copy.deepcopy(WRITTEN["digits_cnn"]["experiment"])
    with pytest.raises(UsageError):
        from_json(json.dumps({**tree, **written}))


START = Start(BASE, ("block_0",))


@pytest.mark.parametrize(
    ("before", "now"),
    [
        (("nonfinite", "skip"), ("safety.nonfinite", "skip")),
        (("safety.spike", 6.0), ("safety.spike", 6.0)),
        (("start", None), ("start", ())),
        (("start", START), ("start", (START,))),
        (("start", (START,)), ("start", (START,))),
        (("start.experiment.steps", 3), ("start.0.experiment.steps", 3)),
        (("start.experiment.spike", 3.0), ("start.0.experiment.safety.spike", 3.0)),
        (("start.0.experiment.nonfinite", "skip"), ("start.0.experiment.safety.nonfinite", "skip")),
        (("model.forward_mode", True), ("forward_mode", True)),
        (("model.dropout", 0.5), ("model.dropout", 0.5)),
        (("no.such", 1), ("no.such", 1)),
    ],
    ids=lambda pair: pair[0],
)
def test_an_override_is_read_in_both_spellings(before, now):
    assert modern_override(replace(BASE, {"start": (START,)}), *before) == now
