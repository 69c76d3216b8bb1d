"""The texts that ship with Python."""

import sys

import numpy as np
import pytest

from research.data import Text
from research.data.builders import OWN
from research.data.builders.made import SHARES, by_group
from research.data.builders.text import docstrings
from research.errors import UsageError
from tests.data.text.reading import SPLITS


def test_topics_and_docstrings_stay_whole_and_apart(data_dir):
    from research.data.text.documents import columns

    for name, group in (("pydoc_topics", "name"), ("stdlib_docstrings", "module")):
        owners, sizes, everything = [], [], []
        for split in SPLITS:
            groups, texts = columns(Text(name), (group, "text"), split, data_dir)
            owners.append({label.partition(".")[0].removeprefix("_py").removeprefix("_") for label in groups})
            sizes.append(sum(map(len, texts)))
            everything += texts
        assert not owners[0] & owners[1] and not (owners[0] | owners[1]) & owners[2]
        assert len(everything) == len(set(everything))
        np.testing.assert_allclose(np.array(sizes) / sum(sizes), list(SHARES.values()), atol=0.05)
    from pydoc_data.topics import topics

    assert sorted(sum((Text().texts(split, data_dir) for split in SPLITS), ())) == sorted(set(topics.values()))
    assert "tensorflow" not in sys.modules


def test_docstrings_know_what_they_describe():
    source = b'''"""Module."""
class A:
    """Class."""
    if True:
        def f(self):
            r"""Method \\d."""
            def g():
                "Inner function."
    class B:
        async def h(self):
            """
            Indented.

              More.
            """
    def bare(self): pass
try:
    def k(): "Function."
except ValueError:
    class C: "\\d"
'''
    assert list(docstrings(source)) == [
        ("module", "Module."),
        ("class", "Class."),
        ("method", "Method \\d."),
        ("function", "Inner function."),
        ("method", "Indented.\n\n  More."),
        ("function", "Function."),
        ("class", "\\d"),
    ]


def test_a_group_lies_in_one_split():
    examples = [{"i": i} for i in range(1000)]
    splits = by_group(examples, [str(i // 7) for i in range(1000)], [1] * 1000)
    groups = [{example["i"] // 7 for example in part} for part in splits.values()]
    assert sum(map(len, groups)) == len(set.union(*groups)) == 143
    assert [round(len(part) / 1000, 1) for part in splits.values()] == list(SHARES.values())


def test_a_dataset_of_the_standard_library_that_is_not_there_is_named(monkeypatch, tmp_path):
    from research.data.builders import text

    monkeypatch.setattr(text.sysconfig, "get_path", lambda name: str(tmp_path))
    with pytest.raises(UsageError, match="has no source files of the standard library"):
        OWN["stdlib_docstrings"](data_dir=str(tmp_path)).make()
