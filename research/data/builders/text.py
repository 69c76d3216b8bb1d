"""TFDS builders for English text that every Python brings along. Imported only when a dataset is used."""

import ast
import platform
import sysconfig
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from research.data.builders.made import Examples, Made, by_group
from research.errors import UsageError

KINDS = ("module", "class", "function", "method")

# Tests and what is not part of the standard library; idlelib is a program with its tests inside.
_LEFT_OUT = {"test", "tests", "idlelib", "site-packages", "dist-packages"}


class PydocTopics(Made, skip_registration=True):  # type: ignore[call-arg]
    """The chapters on the language that `help()` shows: 78 topics, 464,000 characters in Python 3.11.

    Of exact copies the first by name is kept. Splits hold whole topics, about 80, 10 and 10 % of the characters.
    """

    name = "pydoc_topics"
    description = "The chapters of the Python language reference that help() shows."
    features = {"name": tfds.features.Text(), "text": tfds.features.Text()}

    def make(self) -> tuple[dict[str, Examples], str]:
        """Read the topics of this Python."""
        from pydoc_data.topics import topics

        named = {topics[name]: name for name in sorted(topics, reverse=True)}
        examples = [{"name": name, "text": text} for text, name in sorted(named.items(), key=lambda item: item[1])]
        splits = by_group(examples, [example["name"] for example in examples], [len(e["text"]) for e in examples])
        return splits, f"{_python()}, pydoc_data.topics"


class StdlibDocstrings(Made, skip_registration=True):  # type: ignore[call-arg]
    """Docstrings of the standard library, by what they describe; its modules are read, not imported.

    Of exact copies the first is kept. A top-level module or package is in one split, together with what differs from
    its name by a leading "_" or "_py" only, as `decimal` and `_pydecimal`; splits hold about 80, 10 and 10 % of the
    characters.
    """

    name = "stdlib_docstrings"
    unit = "module"
    description = "English docstrings of Python's standard library, by what they describe."
    features = {
        "text": tfds.features.Text(),
        "module": tfds.features.Text(),
        "kind": tfds.features.ClassLabel(names=list(KINDS)),
    }

    def make(self) -> tuple[dict[str, Examples], str]:
        """Read the source files of this Python's standard library, in the order of their paths."""
        root = Path(sysconfig.get_path("stdlib"))
        examples: dict[str, dict[str, Any]] = {}
        paths = (path.relative_to(root) for path in root.rglob("*.py"))
        for path in sorted(paths, key=lambda path: path.parts):
            if _LEFT_OUT.isdisjoint(path.parts) and not path.parts[0].startswith("config-"):
                module = ".".join(path.with_suffix("").parts).removesuffix(".__init__")
                for kind, text in docstrings((root / path).read_bytes()):
                    examples.setdefault(text, {"text": text, "module": module, "kind": kind})
        if not examples:
            raise UsageError(f"{root} has no source files of the standard library; run a Python that brings them")
        kept = list(examples.values())
        groups = [example["module"].partition(".")[0].removeprefix("_py").removeprefix("_") for example in kept]
        return by_group(kept, groups, [len(example["text"]) for example in kept]), f"{_python()}, docstrings"


def docstrings(source: bytes) -> Iterator[tuple[str, str]]:
    """Yield kind and text, without indentation, of every docstring in the source of a module."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Python 3.12 warns of escapes in the module's strings
        module = ast.parse(source)
    for kind, node in [("module", module), *_documented(module, "function")]:
        if text := ast.get_docstring(node):
            yield kind, text


def _documented(parent: ast.AST, function: str) -> Iterator[tuple[str, Any]]:
    """Yield the classes and functions within a node, each with its kind; `function` is that of a function there."""
    for node in ast.iter_child_nodes(parent):
        if isinstance(node, ast.ClassDef):
            yield "class", node
            yield from _documented(node, "method")
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield function, node
            yield from _documented(node, "function")
        elif not isinstance(node, ast.expr):
            yield from _documented(node, function)


def _python() -> str:
    """Return which Python this is."""
    return f"{platform.python_implementation()} {platform.python_version()}"
