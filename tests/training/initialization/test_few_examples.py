"""Whether there are examples enough for a batch."""

import re

import pytest

from research.experiment import replace
from research.training import train


@pytest.mark.fault("F55")
def test_a_batch_of_more_examples_than_there_are_is_said(tiny, options, tmp_path, caplog):
    few = replace(tiny, {"data.train": "train[:19]", "steps": 1, "batch_size": 19})
    train(few, tmp_path / "whole", options)
    assert not caplog.records
    train(replace(few, {"batch_size": 20}), tmp_path / "more", options)
    (record,) = caplog.records
    assert re.match(r"a batch of 20 examples is of more than the 19 .* set batch_size to 19 or less", record.message)
