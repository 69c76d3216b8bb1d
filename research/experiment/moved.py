"""Where fields stood in earlier versions: what was written then is still read, and still hashes as it did.

A fingerprint names the folders of runs and trials. So a field that moves keeps the name that it was hashed under, and
only what no earlier version could express is hashed under a new one.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any, NamedTuple

from research.experiment.replacing import compared, replace
from research.fields import children, is_value


class Moved(NamedTuple):
    """A field's dotted path below its value: `before` the move, and `now`; an index is that of an item of a tuple."""

    before: str
    now: str


TOKENIZER = Moved("tokenizer", "tokenizer.kind"), Moved("vocabulary_size", "tokenizer.vocabulary_size")

MOVED: dict[str, tuple[Moved, ...]] = {
    "Experiment": (
        Moved("nonfinite", "safety.nonfinite"),
        Moved("spike", "safety.spike"),
        Moved("start", "start.0"),
        Moved("model.forward_mode", "forward_mode"),
    ),
    "Text": TOKENIZER,
    "LabelledText": TOKENIZER,
    "Sentences": TOKENIZER,
    "Pairs": (
        Moved("source_tokenizer", "source_tokenizer.kind"),
        Moved("source_vocabulary_size", "source_tokenizer.vocabulary_size"),
        Moved("target_tokenizer", "target_tokenizer.kind"),
        Moved("target_vocabulary_size", "target_tokenizer.vocabulary_size"),
    ),
}
"""By the name of the class that the paths begin at. Rows are only ever added."""


def modernize(tree: dict[str, Any], cls: type) -> None:
    """Put every moved field of the JSON object of a value of class `cls` where it stands now."""
    for before, now in MOVED.get(cls.__name__, ()):
        *around, last = before.split(".")
        name, _, below = now.partition(".")
        inside = _inside(tree, around)
        if last not in inside or (before == name and _holds(tree[name], below)):
            continue
        found = inside.pop(last)
        if not below:
            tree[name] = found
        elif below.isdigit():
            tree[name] = [] if found is None else [found]
        else:
            default = _defaults(cls)[name]
            tree.setdefault(name, {"class": type(default).__name__, **vars(default)})[below] = found


def modern_override(root: Any, path: str, value: Any) -> tuple[str, Any]:
    """Return an override of `root` that an earlier version wrote, as (path, value) of today."""
    names = path.split(".")
    for depth, owner in enumerate(_along(root, names)):
        above, rest = names[:depth], ".".join(names[depth:])
        for before, now in MOVED.get(type(owner).__name__, ()):
            if rest != before and not rest.startswith(f"{before}."):
                continue
            name, _, below = now.partition(".")
            if below.isdigit() and rest == before:
                return path, value if isinstance(value, tuple) else () if value is None else (value,)
            if before != name or _is_before(rest[len(before) + 1 :], below, value):
                return modern_override(root, ".".join((*above, now + rest[len(before) :])), value)
    return path, value


def _is_before(rest: str, below: str, value: Any) -> bool:
    """Return whether what follows the name of a field speaks of what it held before."""
    return not rest.split(".")[0].isdigit() if below.isdigit() else not rest and not is_value(value)


def _along(root: Any, names: list[str]) -> Iterator[Any]:
    """Yield what lies on a path, from the root on, as far as it goes."""
    for name in names:
        yield root
        if name not in (inner := {child: item for child, item, _ in children(root)}):
            return
        root = inner[name]


def _inside(tree: dict[str, Any], names: list[str]) -> dict[str, Any]:
    """Return the JSON object at a path of names, an empty one where there is none."""
    for name in names:
        below = tree.get(name)
        if not isinstance(below, dict):
            return {}
        tree = below
    return tree


def _holds(item: Any, below: str) -> bool:
    """Return whether JSON at a field's name is a tuple or a value, as it is now, and not what it was before."""
    return isinstance(item, list if below.isdigit() else dict)


def changed(node: Any) -> Iterator[tuple[str, Any, Any]]:
    """Yield (dotted name, child, annotation) of what differs from its default, named as it was first hashed."""
    defaults, moved = _defaults(type(node)), MOVED.get(type(node).__name__, ())
    for name, child, annotation in compared(node):
        default = defaults.get(name, dataclasses.MISSING)
        for before, now in moved:
            head, _, below = now.partition(".")
            if head != name or child == default:
                continue
            if not below:
                yield before, child, annotation
                child = default
            elif below.isdigit():
                if len(child) == 1:  # what held one value or none can say no more
                    yield before, child[0], annotation
                    child = default
            elif type(child) is type(default) and getattr(child, below) != getattr(default, below):
                yield before, getattr(child, below), annotation
                child = replace(child, {below: getattr(default, below)})
        if child != default:
            yield name, child, annotation


def _defaults(cls: type) -> dict[str, Any]:
    """Return the defaults of a class's fields by name."""
    return {field.name: field.default for field in dataclasses.fields(cls)}
