"""A value with something in every field, and what its fields can be changed to."""

import types
import typing
from typing import Annotated, Any, Literal

import flax.linen as nn
from hypothesis import strategies as st

from research.data import Images
from research.experiment import (
    Experiment,
    Pretrained,
    Start,
)
from research.fields import Range, Switch, children, is_value
from research.models import CNN
from research.optimization import Group, Optimizer
from research.tasks import Classification

BASE = Experiment(
    model=CNN(channels=(3, 5), dense=(7,), dropout=0.25),
    task=Classification(label_smoothing=0.125, class_weights=None),
    data=Images("digits", mean=(0.25, 0.5, 0.75), shift=1, noise=0.0625),
    optimizer=Optimizer("adamw", learning_rate=0.5, weight_decay=0.125, clip_norm=1.0, ema=0.75),
    steps=12,
    batch_size=17,
)


class Holder(nn.Module):
    """A model that holds anything."""

    content: Any = None


def fields(node, prefix=""):
    """Every field of a value, as (dotted path, value, annotation); a tuple is one field."""
    for name, child, annotation in children(node):
        yield prefix + name, child, annotation
        if is_value(child):
            yield from fields(child, f"{prefix}{name}.")


FIELDS = {path: (value, annotation) for path, value, annotation in fields(BASE) if not is_value(value)}


def get(node, path):
    for name in path.split("."):
        node = node[int(name)] if isinstance(node, tuple) else getattr(node, name)
    return node


def fitting(annotation):
    """Values that a field of this annotation takes; floats are exact in float32."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        bounds = next((note for note in arguments[1:] if isinstance(note, Range)), Range())
        low, high = max(bounds.low, -(2**20)), min(bounds.high, 2**20)
        if arguments[0] is float:
            return st.floats(low, high, exclude_min=bounds.open_start, exclude_max=bounds.open_end, width=32)
        return st.integers(int(low), int(high))
    if origin is Literal:
        return st.sampled_from(arguments)
    if origin in (typing.Union, types.UnionType):
        return st.one_of([fitting(member) for member in arguments])
    if origin is tuple and arguments[-1] is not ...:
        return st.tuples(*map(fitting, arguments))
    if origin is tuple:
        return st.lists(fitting(arguments[0]), max_size=3).map(tuple)
    if annotation is float:
        return st.floats(-(2**20), 2**20, width=32)
    if annotation is Group:
        return st.builds(Group, st.just(("block_0", "logits.kernel")), fitting(Switch))
    return {
        int: st.integers(-99, 99),
        bool: st.booleans(),
        str: st.text(max_size=9),
        type(None): st.none(),
        Experiment: st.just(BASE),
        Start: st.just(Start(BASE, ("block_0", "logits.kernel"))),
        Pretrained: st.sampled_from([Pretrained("w.pth", "f00d"), Pretrained("w.pth", "f00d", ("block_0",))]),
    }[annotation]


def without_conflict(overrides):
    """The one rule between fields: adam has no decoupled weight decay."""
    return overrides | ({"optimizer.weight_decay": 0.0} if overrides.get("optimizer.algorithm") == "adam" else {})


OVERRIDES = st.fixed_dictionaries({}, optional={path: fitting(note) for path, (_, note) in FIELDS.items()}).map(
    without_conflict
)
