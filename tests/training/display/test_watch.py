import dataclasses
import re

import pytest

from research.errors import UsageError
from research.training import Interrupted, train


def test_a_run_that_is_watched_is_the_same_run(tiny, options, undisturbed, tmp_path, capsys):
    watched = dataclasses.replace(options, profile="2:4", progress="lines")
    train(tiny, tmp_path / "run", watched)
    said = capsys.readouterr().out
    assert said.count("first step after ") == 1 and "steps 3 to 4 took " in said
    assert re.search(r"^CNN/block_\d/\S+, backward ", said, flags=re.MULTILINE)  # named after the model
    assert list((tmp_path / "run" / "profile").rglob("*.xplane.pb"))
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == (undisturbed / "metrics.jsonl").read_bytes()


def test_steps_that_were_taken_before_are_not_traced(tiny, options, undisturbed, tmp_path, capsys):
    with pytest.raises(Interrupted):
        train(tiny, tmp_path / "run", dataclasses.replace(options, stop_after=6))
    train(tiny, tmp_path / "run", dataclasses.replace(options, profile="2:4", progress="lines"))
    assert "resumed at step 6" in (said := capsys.readouterr().out) and "steps 3 to 4" not in said
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == (undisturbed / "metrics.jsonl").read_bytes()


def test_a_range_that_is_none_is_refused_before_anything_is_written(tiny, options, tmp_path):
    with pytest.raises(UsageError, match="--profile 4:13 is no part of 12 steps"):
        train(tiny, tmp_path / "run", dataclasses.replace(options, profile="4:13"))
    assert not (tmp_path / "run").exists()
