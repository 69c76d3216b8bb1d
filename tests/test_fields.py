import dataclasses
import math
from typing import Annotated, Any, Literal

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import pytest

from research.errors import UsageError, WrongTypeError, WrongValueError, suggestion
from research.fields import (
    Constant,
    Count,
    Fraction,
    NonNegative,
    Placeholder,
    Range,
    Rate,
    Seed,
    Size,
    Switch,
    annotations,
    canonical,
    children,
    describe,
    is_static_zero,
    kind,
    rebuild,
    validate,
)

Color = Literal["red", "green"]


@dataclasses.dataclass(frozen=True)
class Block:
    width: Size = 3
    rate: Rate = 0.5


@dataclasses.dataclass(frozen=True)
class Net:
    first: Block = Block()
    blocks: tuple[Block, ...] = (Block(5), Block(7))
    scale: float = 1.0


@pytest.mark.parametrize(
    "bounds, text, inside, outside",
    [
        (Range(0), "at least 0", [0, 1e9, math.inf], [-1e-9]),
        (Range(-2.5, 3), "in [-2.5, 3]", [-2.5, 3], [-2.6, 3.1]),
        (Range(0, 1, open_end=True), "in [0, 1)", [0, 0.999], [1, -0.1]),
        (Range(0, open_start=True), "above 0", [1e-30, 7], [0, -1]),
        (Range(0, 1, open_start=True), "in (0, 1]", [0.5, 1], [0, 2]),
    ],
)
def test_range_says_and_keeps_its_bounds(bounds, text, inside, outside):
    assert str(bounds) == text
    assert all(number in bounds for number in inside)
    assert not any(number in bounds for number in [*outside, math.nan])


@pytest.mark.parametrize(
    "annotation, text",
    [
        (int, "int"),
        (bool, "bool"),
        (float, "float"),
        (Constant, "float"),
        (NonNegative, "float at least 0"),
        (Rate, "float in [0, 1)"),
        (Size, "int at least 1"),
        (Color, '"red" or "green"'),
        (str | None, "str or None"),
        (Size | None, "int at least 1 or None"),
        (tuple[Size, ...], "tuple of int at least 1"),
        (tuple[int, str], "tuple of 2"),
        (tuple[NonNegative, ...] | None, "tuple of float at least 0 or None"),
        (Block, "Block"),
        (nn.Module, "Module"),
    ],
)
def test_an_annotation_in_words(annotation, text):
    assert describe(annotation) == text


@pytest.mark.parametrize(
    "annotation, given, wanted",
    [
        (float, 3, 3.0),
        (float, 0.1, 0.1),
        (float, np.float64(0.1), 0.1),
        (Rate, np.float32(0.5), 0.5),
        (Size, np.int64(3), 3),
        (bool, np.bool_(True), True),
        (tuple[float, ...], (np.float32(0.5), np.int32(2)), (0.5, 2.0)),
        (int, 3, 3),
        (bool, True, True),
        (str, "x", "x"),
        (Constant, 1, 1.0),
        (Rate, 0, 0.0),
        (Fraction, 0.999, 0.999),
        (Seed, 2**32 - 1, 2**32 - 1),
        (Color, "green", "green"),
        (str | None, None, None),
        (float | None, 2, 2.0),
        (Size | None, 2, 2),
        (tuple[float, ...], (1, 2.5), (1.0, 2.5)),
        (tuple[NonNegative, ...] | None, (1, 2), (1.0, 2.0)),
        (tuple[int, float], (1, 2), (1, 2.0)),
        (tuple[tuple[float, ...], ...], ((1,), ()), ((1.0,), ())),
        (Block, Block(), Block()),
        (Any, "anything", "anything"),
    ],
)
def test_what_fits_is_accepted_in_one_form(annotation, given, wanted):
    accepted = canonical(given, annotation, "a.b")
    assert accepted == wanted
    assert type(accepted) is type(wanted)
    if isinstance(wanted, tuple):
        assert [type(item) for item in accepted] == [type(item) for item in wanted]


@pytest.mark.fault("F30")
@pytest.mark.parametrize(
    "annotation, given, error, message",
    [
        (int, 3.0, WrongTypeError, "a.b must be int, not 3.0 (float)"),
        (int, True, WrongTypeError, "a.b must be int, not True (bool)"),
        (float, True, WrongTypeError, "a.b must be float, not True (bool)"),
        (float, "3", WrongTypeError, "a.b must be float, not '3' (str)"),
        (float, None, WrongTypeError, "a.b must be float, not None (NoneType)"),
        (bool, 1, WrongTypeError, "a.b must be bool, not 1 (int)"),
        (str, 1, WrongTypeError, "a.b must be str, not 1 (int)"),
        (Size, False, WrongTypeError, "a.b must be int at least 1, not False (bool)"),
        (Color, "gren", WrongTypeError, 'a.b must be "red" or "green", not \'gren\' (str); did you mean "green"?'),
        (Color, 1, WrongTypeError, 'a.b must be "red" or "green", not 1 (int)'),
        (Literal[1, 2], True, WrongTypeError, 'a.b must be "1" or "2", not True (bool)'),
        (Size | None, 0.5, WrongTypeError, "a.b must be int at least 1 or None, not 0.5 (float)"),
        (tuple[int, ...], [1, 2], WrongTypeError, "a.b must be tuple of int, not [1, 2] (list)"),
        (tuple[int, ...], (1, 2.0), WrongTypeError, "a.b.1 must be int, not 2.0 (float)"),
        (tuple[int, str], (1,), WrongTypeError, "a.b must have 2 items, not 1"),
        (tuple[tuple[int, ...], ...], ((1,), (2, "x")), WrongTypeError, "a.b.1.1 must be int, not 'x' (str)"),
        (Block, "Block", WrongTypeError, "a.b must be Block, not 'Block' (str)"),
        (Size, 0, WrongValueError, "a.b must be at least 1, not 0"),
        (Size | None, 0, WrongValueError, "a.b must be at least 1, not 0"),
        (Rate, 1, WrongValueError, "a.b must be in [0, 1), not 1.0"),
        (Seed, 2**32, WrongValueError, "a.b must be in [0, 4"),
        (Count, -1, WrongValueError, "a.b must be "),
        (float, math.nan, WrongValueError, "a.b must be finite, not nan"),
        (Switch, math.inf, WrongValueError, "a.b must be finite"),
        (tuple[NonNegative, ...] | None, (1, -1), WrongValueError, "a.b.1 must be at least 0, not -1.0"),
    ],
)
def test_what_does_not_fit_is_named_with_its_path(annotation, given, error, message):
    with pytest.raises(error) as raised:
        canonical(given, annotation, "a.b")
    assert str(raised.value).startswith(message)
    assert isinstance(raised.value, UsageError)


@pytest.mark.parametrize(
    "annotation, leaf, wanted",
    [
        (float, 0.0, "argument"),
        (float, 0.1, "argument"),
        (NonNegative, 0.0, "argument"),
        (Constant, 0.1, "program"),
        (Rate, 0.1, "argument"),
        (Rate, 0.0, "program"),
        (Switch, 0.0, "program"),
        (Switch, 2.0, "argument"),
        (int, 3, "program"),
        (Size, 3, "program"),
        (Count, 0, "argument"),
        (Seed, 0, "argument"),
        (bool, True, "program"),
        (str, "x", "program"),
        (Color, "red", "program"),
        (float | None, 0.1, "argument"),
        (float | None, None, "program"),
        (Annotated[int, "argument"] | None, 3, "argument"),
    ],
)
def test_floats_are_arguments_and_the_exceptions_are_annotated(annotation, leaf, wanted):
    assert kind(leaf, annotation) == wanted


def test_only_a_plain_zero_is_off():
    assert is_static_zero(0.0) and is_static_zero(0) and is_static_zero(-0.0)
    assert not any(is_static_zero(number) for number in (0.1, Placeholder(), jnp.zeros(()), None))


def test_holes_are_equal_and_hash_alike():
    assert Placeholder() == Placeholder() and hash(Placeholder()) == hash(Placeholder()) and Placeholder() != 0.0
    assert len({Placeholder(), Placeholder()}) == 1


def test_children_of_values_and_tuples():
    assert [(name, child) for name, child, _ in children(Net())] == [
        ("first", Block()),
        ("blocks", (Block(5), Block(7))),
        ("scale", 1.0),
    ]
    assert [(name, note) for name, _, note in children((1, "x"), tuple[int, str])] == [("0", int), ("1", str)]
    assert [note for _, _, note in children((1, 2), tuple[Size, ...] | None)] == [Size, Size]
    assert list(children(3.0)) == list(children("text")) == list(children(Block)) == []


def test_linen_bookkeeping_is_no_field():
    class Small(nn.Module):
        width: Size = 3

    assert list(annotations(Small)) == ["width"]


def test_rebuild_exchanges_the_named_children_of_a_copy():
    class Small(nn.Module):
        width: Size = 3
        depth: Size = 5

    for value in (Net(), Small(), (1, 2, 3)):
        assert rebuild(value, {}) is value
    assert rebuild(Block(), {"rate": 0.1}) == Block(3, 0.1)
    assert rebuild(Small(), {"depth": 7}) == Small(3, 7)
    assert rebuild((1, 2, 3), {"1": 5}) == (1, 5, 3)


@pytest.mark.parametrize(
    "value, message",
    [
        (Net(first=Block(0)), "first.width must be at least 1, not 0"),
        (Net(blocks=(Block(), Block(3, 1.5))), r"blocks.1.rate must be in \[0, 1\), not 1.5"),
        (Net(blocks=(Block(), 3)), r"blocks.1 must be Block, not 3 \(int\)"),
        (Net(scale="x"), "scale must be float, not 'x'"),
    ],
)
def test_validation_goes_into_values_and_tuples_of_values(value, message):
    with pytest.raises(UsageError, match=message):
        validate(value)
    with pytest.raises(UsageError, match=f"net.{message}"):
        validate(value, "net")


def test_validation_makes_floats_of_integers():
    value = Net(scale=2, first=Block(rate=0))
    validate(value)
    assert (type(value.scale), type(value.first.rate)) == (float, float)


def test_what_stands_in_for_an_argument_passes_unchecked():
    for stand_in in (Placeholder(), jnp.float32(7), np.zeros(3)):
        assert canonical(stand_in, Rate, "a.b") is stand_in


@pytest.mark.fault("F30")
@pytest.mark.parametrize(
    "name, text",
    [
        ("dropuot", '; did you mean "dropout"?'),
        ("channel", '; did you mean "channels"?'),
        ("xyz", "; valid names are channels, dropout, kernel"),
    ],
)
def test_a_typo_is_met_with_the_closest_name(name, text):
    assert suggestion(name, ["kernel", "dropout", "channels"]) == text
