import dataclasses
import os
import string
import subprocess
import sys
from pathlib import Path

import flax.linen as nn
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from research.data import Images
from research.experiment import (
    difference,
    fingerprint,
    from_json,
    replace,
    to_json,
)
from research.models import CNN
from research.optimization import Optimizer
from tests.experiment.values import BASE, FIELDS, OVERRIDES, fitting


@given(OVERRIDES)
@example({"seed": 7})
def test_fingerprint_tells_apart_all_but_the_seed(overrides):
    changed = replace(BASE, overrides)
    assert (fingerprint(changed) == fingerprint(BASE)) == (set(difference(BASE, changed)) <= {"seed"})


@pytest.mark.parametrize("path", FIELDS)
@given(data=st.data())
@settings(max_examples=5)
def test_fingerprint_depends_on_every_field_but_the_seed(path, data):
    old, annotation = FIELDS[path]
    new = data.draw(fitting(annotation).filter(lambda value: value != old and value != "adam"))
    assert (fingerprint(replace(BASE, {path: new})) == fingerprint(BASE)) == (path == "seed")


def test_equal_experiments_have_one_fingerprint():
    optimizer = dataclasses.asdict(BASE.optimizer)
    for value in (
        replace(replace(BASE, {"steps": 99}), {"steps": 12}),
        from_json(to_json(BASE)),
        dataclasses.replace(BASE, optimizer=Optimizer(**dict(reversed(optimizer.items())))),
        dataclasses.replace(BASE, model=CNN(10, (3, 5), dense=(7,), dropout=0.25)),
    ):
        assert value == BASE and fingerprint(value) == fingerprint(BASE)


def test_fingerprint_takes_an_integer_for_a_float():
    def build(one):
        return dataclasses.replace(BASE, optimizer=Optimizer(learning_rate=one), data=Images(mean=(one,)))

    assert fingerprint(build(1)) == fingerprint(build(1.0))


def test_fingerprint_does_not_tell_zeros_apart():
    plus, minus = (replace(BASE, {"data.mean": (zero,), "optimizer.eps": zero}) for zero in (0.0, -0.0))
    assert plus == minus and fingerprint(plus) == fingerprint(minus)


def model_with(**defaults):
    """A model class `Grown` with these fields: one class at different times of its life."""
    return type("Grown", (nn.Module,), {"__annotations__": dict.fromkeys(defaults, float), **defaults})


def test_a_new_field_with_a_default_keeps_fingerprints():
    old, new = model_with(a=0.5), model_with(a=0.5, b=0.25)
    values = [dataclasses.replace(BASE, model=model) for model in (old(), new(), new(b=0.5), old(a=0.1), new(a=0.1))]
    prints = [fingerprint(value) for value in values]
    assert prints[0] == prints[1] and prints[3] == prints[4]
    assert len(set(prints)) == 3


def test_the_order_of_fields_in_a_class_does_not_matter():
    one, other = model_with(a=0.5, b=0.25), model_with(b=0.25, a=0.5)
    prints = {fingerprint(dataclasses.replace(BASE, model=model(a=1.0, b=2.0))) for model in (one, other)}
    assert len(prints) == 1


def test_fingerprint_is_ten_hexadecimal_digits():
    assert len(fingerprint(BASE)) == 10 and set(fingerprint(BASE)) <= set(string.hexdigits.lower())


def test_fingerprint_is_the_same_in_another_process():
    code = (
        "import sys; from research.experiment import fingerprint, from_json, to_json\n"
        "value = from_json(sys.stdin.read()); print(fingerprint(value)); print(to_json(value))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        input=to_json(BASE),
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONHASHSEED": "12345"},
    )
    assert result.stdout == f"{fingerprint(BASE)}\n{to_json(BASE)}\n"
