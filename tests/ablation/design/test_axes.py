"""Axes are tuples of override dictionaries, and compose."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.stats import qmc

from research.ablation import (
    add_one_in,
    chain,
    choice,
    filtered,
    fixed,
    grid,
    halton,
    integers,
    leave_one_out,
    log_uniform,
    one_at_a_time,
    product,
    random,
    seeds,
    uniform,
    when,
    zipped,
)
from research.errors import UsageError

AXES = st.lists(st.dictionaries(st.sampled_from("abc"), st.integers(0, 2)), max_size=3).map(chain)


def renamed(axis, suffix):
    """The same axis over other paths, so that a product with it has no conflict."""
    return chain({path + suffix: value for path, value in cell.items()} for cell in axis)


def test_grid_by_hand_last_path_fastest():
    assert grid({"a": (1, 2), "b": ["x", "y", "z"]}) == (
        {"a": 1, "b": "x"},
        {"a": 1, "b": "y"},
        {"a": 1, "b": "z"},
        {"a": 2, "b": "x"},
        {"a": 2, "b": "y"},
        {"a": 2, "b": "z"},
    )


def test_zipped_and_one_at_a_time_by_hand():
    assert zipped({"a": (1, 2), "b": range(3, 5)}) == ({"a": 1, "b": 3}, {"a": 2, "b": 4})
    assert one_at_a_time({"a": (1, 2), "b": (3,)}) == ({"a": 1}, {"a": 2}, {"b": 3})


def test_values_of_numpy_become_those_of_python():
    (cell, *_) = grid({"a": np.array([0.5, 0.25]), "b": np.arange(3)})
    assert [type(value) for value in cell.values()] == [float, int]


@given(AXES, AXES, AXES)
def test_product_and_chain_are_associative_with_units_and_distribute(a, b, c):
    b, c = renamed(b, "_b"), renamed(c, "_c")
    assert product(product(a, b), c) == product(a, b, c) == product(a, product(b, c))
    assert chain(chain(a, b), c) == chain(a, b, c)
    assert product(a, product()) == a == chain(a, ())
    assert product(chain(a, b), c) == chain(product(a, c), product(b, c))
    assert len(product(a, b)) == len(a) * len(b)


@given(AXES, AXES)
def test_when_is_a_chain_of_products(axis, inner):
    inner = renamed(inner, "_inner")
    assert when(axis, lambda cell: True, inner) == product(axis, inner)
    assert when(axis, lambda cell: False, inner) == axis
    crossed = when(axis, lambda cell: "a" in cell, inner)
    assert filtered(crossed, lambda cell: "a" not in cell) == filtered(axis, lambda cell: "a" not in cell)


def test_when_by_hand():
    algorithm = grid({"algorithm": ("sgd", "adam", "momentum")})
    assert when(algorithm, lambda cell: cell["algorithm"] == "adam", grid({"b1": (0.5, 0.9)})) == (
        {"algorithm": "sgd"},
        {"algorithm": "adam", "b1": 0.5},
        {"algorithm": "adam", "b1": 0.9},
        {"algorithm": "momentum"},
    )


def test_leave_one_out_and_add_one_in_by_hand():
    components = {"warm-up": {"warmup": 0, "peak": 1.0}, "model.dropout": 0.0, "ema": {"ema": 0.0}}
    without = leave_one_out(components)
    assert without == ({"warmup": 0, "peak": 1.0}, {"model.dropout": 0.0}, {"ema": 0.0})
    assert [[text for text, _ in cell.labels] for cell in without] == [["no warm-up"], [], ["no ema"]]
    added = add_one_in(components)
    assert added == (
        {"warmup": 0, "peak": 1.0, "model.dropout": 0.0, "ema": 0.0},
        {"model.dropout": 0.0, "ema": 0.0},
        {"ema": 0.0},
        {},
    )
    assert [text for cell in added for text, _ in cell.labels] == ["all off", "+ warm-up", "+ dropout", "+ ema"]


def test_seeds():
    assert seeds(3, first=5) == ({"seed": 5}, {"seed": 6}, {"seed": 7})


SPACE = {
    "rate": log_uniform(1e-4, 1e-1),
    "dropout": uniform(0.2, 0.6),
    "layers": integers(2, 4),
    "activation": choice(["relu", "tanh"]),
}


@pytest.mark.parametrize("sample", [random, halton])
def test_a_sample_follows_its_distributions(sample):
    """Kolmogorov-Smirnov distances and shares of 1000 draws; a seed decides them all."""
    axis = sample(SPACE, 1000, seed=0)
    assert axis == sample(SPACE, 1000, seed=0) != sample(SPACE, 1000, seed=1)
    assert axis[:7] == sample(SPACE, 7, seed=0)
    assert stats.kstest(np.log10([cell["rate"] for cell in axis]), stats.uniform(-4, 3).cdf).statistic < 0.05
    assert stats.kstest([cell["dropout"] for cell in axis], stats.uniform(0.2, 0.4).cdf).statistic < 0.05
    for path, wanted in (("layers", {2, 3, 4}), ("activation", {"relu", "tanh"})):
        drawn = [cell[path] for cell in axis]
        assert set(drawn) == wanted
        assert all(abs(drawn.count(value) / 1000 - 1 / len(wanted)) < 0.05 for value in wanted)


def test_halton_is_that_of_scipy_and_more_even_than_chance():
    space = {"a": uniform(0, 1), "b": uniform(0, 1)}
    points, drawn = (np.array([tuple(cell.values()) for cell in f(space, 64, 3)]) for f in (halton, random))
    np.testing.assert_array_equal(points, qmc.Halton(2, rng=3).random(64))
    assert qmc.discrepancy(points) < 0.2 * qmc.discrepancy(drawn)


@pytest.mark.parametrize(
    ("declare", "message"),
    [
        (lambda: product(grid({"a": (1,)}), fixed({"b": 2, "a": 3})), '"a" is set twice in one cell, to 1 and 3'),
        (lambda: add_one_in({"x": {"a": 1}, "y": {"a": 2}}), '"a" is set twice'),
        (lambda: zipped({"a": (1, 2), "b": (1,)}), "a has 2, b has 1"),
        (lambda: grid({"a": ()}), "a needs at least one value"),
        (lambda: grid({"a": "relu"}), "a needs a list of values, not 'relu'"),
        (lambda: one_at_a_time({"a": 1}), "a needs a list of values, not 1"),
        (lambda: grid([{"a": 1}]), "an axis needs"),
        (lambda: chain({"a": 1}), "wrap a single one in fixed"),
        (lambda: chain(["a"]), "overrides are a dictionary"),
        (lambda: fixed({1: 2}), "overrides are a dictionary"),
        (lambda: leave_one_out({}), "components are"),
        (lambda: leave_one_out({"x": {}}), 'nothing switches the component "x" off'),
        (lambda: seeds(0), "n of at least 1"),
        (lambda: uniform(1, 1), "in order"),
        (lambda: log_uniform(0, 1), "above 0"),
        (lambda: choice([]), "at least one value"),
        (lambda: random({"a": 3}, 1, 0), "a needs uniform"),
        (lambda: halton({}, 1, 0), "at least one path"),
    ],
)
def test_a_mistake_is_named(declare, message):
    with pytest.raises(UsageError) as error:
        declare()
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_declaring_a_study_imports_neither_scipy_nor_matplotlib():
    code = "import sys, research.ablation; print({'scipy', 'matplotlib'} & sys.modules.keys())"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "set()\n"
