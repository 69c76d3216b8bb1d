"""The help that fits two screens: a line for each flag that most readers change, and how to see them all."""

import ast
import dataclasses
import functools
import inspect
import shutil
import textwrap
from collections.abc import Iterator, Sequence
from itertools import groupby, pairwise
from typing import Any, NamedTuple, get_args

import tyro

from research.cli.runs import Flat
from research.experiment import Experiment, RunOptions
from research.fields import children, is_value
from research.generation import Options

LINES = 100
"""Two screens."""

SOME = 6
"""Lines from which on the first flags of a group are shown, where there is no room for all."""

WIDEST = 120

TITLES = {Experiment: "experiment", RunOptions: "run", Options: "text"}
"""What the flags of a value are called that are not called after it."""


class Flag(NamedTuple):
    """A field that the command line sets."""

    name: str
    default: str
    meaning: str


class FlagGroup(NamedTuple):
    """The flags of one value, which begin with `path` and a dot, unless that is ""."""

    path: str
    title: str
    flags: tuple[Flag, ...]


def short_help(default: Any, usage: str, doc: str, commands: Sequence[str]) -> str:
    """Return help of at most `LINES` lines, as wide as the terminal; groups that do not fit are named and counted.

    Args:
        default: what the flags of a command change, as tyro is given it.
        usage: what is typed in front of them.
        doc: what the module says of itself.
        commands: all there are.
    """
    width = min(shutil.get_terminal_size().columns, WIDEST)
    told = f"{inspect.cleandoc(type(default).__doc__ or '')} Commands: {', '.join(commands)} (default: train)."
    lines = [f"usage: {usage} [FLAGS]", "", *doc.strip().splitlines(), "", *textwrap.wrap(told, width), ""]
    found = sorted(groups(default, type(default).__name__.lower()), key=lambda group: group.path.count("."))
    column = min(max(len(flag.name) for group in found for flag in group.flags), 32)
    left: list[FlagGroup] = []
    for index, group in enumerate(found, start=1):
        others = {_owner(other) for other in (*left, *found[index:])}  # have two lines each, if they must
        room = LINES - len(lines) - 2 * len(others) - 3
        if len(group.flags) <= room:
            lines += [group.title, *(_line(flag, column, width) for flag in group.flags)]
        elif room > SOME:
            first, rest = group.flags[: room - 2], group.flags[room - 2 :]
            lines += [group.title, *(_line(flag, column, width) for flag in first)]
            lines += _named("  and", group.path, rest, width)
        else:
            left.append(group)
    for owner, groups_left in groupby(sorted(left, key=_owner), _owner):
        lines += _named(f"{owner}:", owner, [flag for group in groups_left for flag in group.flags], width)
    count = sum(len(group.flags) for group in found)
    return "\n".join([*lines, "", f"--help_all shows all {count} flags, and what each takes."])


def groups(node: Any, title: str, path: str = "", annotation: Any = Any) -> Iterator[FlagGroup]:
    """Yield the flags of a value or a tuple of some, then those of the values in it."""
    meanings, flags, inner = documented(node.__class__), [], []
    for name, child, kind in children(node, annotation):
        below = path if Flat in get_args(kind) else f"{path}.{name}".lstrip(".")
        if is_value(child) or (isinstance(child, tuple) and any(map(_has_values, child))):
            inner.append((child, TITLES.get(type(child)) or f"{below}: {type(child).__name__}", below, kind))
        elif not _names_values(kind):  # what holds none of them now has no flag
            flags.append(Flag(f"--{below}", _text(child), meanings.get(name, "")))
    if flags:
        yield FlagGroup(path, title, tuple(flags))
    for each in inner:
        yield from groups(*each)


@functools.cache
def documented(cls: type) -> dict[str, str]:
    """Return what is said of each field: the docstring below it, else the comment beside it."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        try:
            source = textwrap.dedent(inspect.getsource(base))
        except (OSError, TypeError):  # built in, or typed into an interpreter
            continue
        definition: Any = ast.parse(source).body[0]
        lines = source.splitlines()
        for node, after in pairwise([*definition.body, ast.Pass()]):
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                beside = lines[(node.end_lineno or node.lineno) - 1].partition("#")[2]
                found[node.target.id] = " ".join((_string(after) or beside).split())
    return found


def _string(node: ast.stmt) -> str:
    """Return the text of a statement that is nothing else."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
        return node.value.value
    return ""


def _has_values(node: Any) -> bool:
    """Return whether a node is a value or a tuple with one in it."""
    return is_value(node) or (isinstance(node, tuple) and any(map(_has_values, node)))


def _names_values(annotation: Any) -> bool:
    """Return whether an annotation names a class whose fields would be flags."""
    if isinstance(annotation, type) and dataclasses.is_dataclass(annotation):
        return True
    return any(map(_names_values, get_args(annotation)))


def _text(value: Any) -> str:
    """Return a default as it is typed."""
    if value is tyro.MISSING:
        return "(needed)"
    if isinstance(value, tuple):
        return " ".join(map(_text, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _owner(group: FlagGroup) -> str:
    """Return by which name groups that do not fit are counted together."""
    return ".".join(group.path.split(".")[:3]) or group.title


def _line(flag: Flag, column: int, width: int) -> str:
    """Return a flag, its default and the beginning of its meaning on one line."""
    return _cut(f"  {flag.name:{column}}  {_cut(flag.default, 16):16}  {flag.meaning}", width)


def _named(begin: str, owner: str, flags: Sequence[Flag], width: int) -> list[str]:
    """Return in two lines at most how many flags there are, and their names."""
    names = ", ".join(flag.name.removeprefix(f"--{owner}.") for flag in flags)
    told = f"{begin} {len(flags)} flags, {names}"
    return textwrap.wrap(told, width, subsequent_indent="  ", max_lines=2, placeholder=" ...")


def _cut(text: str, width: int) -> str:
    """Return a text, or its beginning."""
    return text if len(text) <= width else f"{text[: width - 4]} ..."
