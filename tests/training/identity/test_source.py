"""What is the same source whatever it is called inside, and what is another one."""

import ast

import pytest

from research.training.identity.source import digest

SOURCE = '''
"""A module."""
import math
from functools import partial

RATE = 0.1

class Model(Base):
    """A model."""

    width: int = 3
    """How wide."""

    def __call__(self, x, *, train=False):
        # a comment
        total = 0
        for index, row in enumerate(x):
            total += helper(row, index) * self.width
        return [y for y in total if y > RATE], (lambda a: a + total)

    def other(self, x):
        try:
            found = x[0]
        except IndexError as error:
            raise ValueError(str(error)) from error

        def inner(y):
            nonlocal found
            found = y + x
            return found

        match x:
            case [first, *rest]:
                return inner(first), rest
        return {key: value for key, value in x.items()}, (last := inner(x)), last


def helper(row, index):
    return math.sqrt(row) + index

def shown(name, width):
    return f"{name:<{width}} {name!r}"
'''

SAME = {
    "a comment": ("# a comment", "# another one"),
    "no comment": ("        # a comment\n", ""),
    "blank lines": ("RATE = 0.1\n", "RATE = 0.1\n\n\n"),
    "the module's docstring": ('"""A module."""', '"""The module."""'),
    "no docstring": ('    """A model."""\n', ""),
    "a field's docstring": ('"""How wide."""', '"""How wide it is."""'),
    "brackets": ("self.width\n", "(self.width)\n"),
    "quotes and numbers as they are written": ("0.1", "1e-1"),
    "the order of imports": (
        "import math\nfrom functools import partial",
        "from functools import partial\nimport math",
    ),
}
RENAMED = {
    "a local variable": [("total", "summed")],
    "variables of a loop": [("index, row", "i, r"), ("helper(row, index) *", "helper(r, i) *")],
    "a variable of a comprehension": [("[y for y in total if y > RATE]", "[z for z in total if z > RATE]")],
    "variables of a dictionary": [("{key: value for key, value", "{k: v for k, v")],
    "an exception": [("as error", "as e"), ("str(error)) from error", "str(e)) from e")],
    "what a function inside shares": [("found", "seen")],
    "a function inside": [("inner", "within")],
    "what a pattern binds": [("first", "one"), ("rest", "others")],
    "what an expression binds": [("last", "final")],
}
OTHER = {
    "a number": ("0.1", "0.2"),
    "an operator": ("+ index", "- index"),
    "an argument's name": (
        "def helper(row, index):\n    return math.sqrt(row)",
        "def helper(line, index):\n    return math.sqrt(line)",
    ),
    "an argument's default": ("train=False", "train=True"),
    "a method's name": ("def other", "def another"),
    "a field's name": ("width", "breadth"),
    "a function's name": ("helper", "assistant"),
    "another variable": ("return found", "return y"),
    "two variables exchanged": ("helper(row, index) *", "helper(index, row) *"),
    "the order of statements": (
        "            nonlocal found\n            found = y + x\n            return found",
        "            nonlocal found\n            return found\n            found = y + x",
    ),
    "what is imported": ("import math", "import cmath as math"),
    "a base": ("Model(Base)", "Model(Other)"),
    "a text": ("return {key", 'return "text" or {key'),
    "a local that is shared no more": ("            nonlocal found\n", ""),
    "a variable of a comprehension from outside": ("[y for y in total", "[total for y in total"),
}


def of(source):
    return digest(ast.parse(source))


def edited(*pairs):
    source = SOURCE
    for old, new in pairs:
        assert old in source
        source = source.replace(old, new)
    ast.parse(source)
    return source


@pytest.mark.parametrize("edit", SAME)
def test_what_decides_no_number_is_the_same(edit):
    assert of(edited(SAME[edit])) == of(SOURCE)


@pytest.mark.parametrize("edit", RENAMED)
def test_names_of_local_variables_decide_none(edit):
    assert of(edited(*RENAMED[edit])) == of(SOURCE)


def test_the_order_of_definitions_decides_none():
    helper = SOURCE.index("\n\ndef helper")
    before = SOURCE.index("class Model")
    moved = SOURCE[:before] + SOURCE[helper:] + "\n\n" + SOURCE[before:helper]
    first, second = SOURCE.index("    def __call__"), SOURCE.index("    def other")
    methods = SOURCE[:first] + SOURCE[second:helper] + "\n" + SOURCE[first:second] + SOURCE[helper:]
    assert of(moved) == of(methods) == of(SOURCE)


@pytest.mark.parametrize("edit", OTHER)
def test_what_may_decide_a_number_is_another_source(edit):
    assert of(edited(OTHER[edit])) != of(SOURCE)


def test_every_version_of_python_says_the_same():
    """The lanes run under different ones, which parse to trees with different fields."""
    assert of(SOURCE) == "3ee38a9aa808b2cc12ba0ef0c4ba209a"
