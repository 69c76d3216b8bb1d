"""Experiments: one short module each, run with ``python -m experiments.NAME``."""

import importlib.util
import sys
from pathlib import Path


def check_research() -> None:
    """Leave in one sentence where `research` is another package than the one that lies beside this one.

    Python looks into the current folder first, and what is called so there hides what is installed.
    """
    try:
        found = importlib.util.find_spec("research.cli")  # an editable installation finds ours within another one
    except ModuleNotFoundError:
        found = None
    ours = Path(__file__).resolve().parents[1] / "research"
    if found is not None and found.origin is not None and ours in Path(found.origin).resolve().parents:
        return
    other = importlib.util.find_spec("research")
    place = (
        "nothing" if other is None else other.origin or next(iter(other.submodule_search_locations or ()), "nothing")
    )
    sentence = (
        f'"research" is {place} here, not {ours}: work in another folder, or type python -P, which does not look into '
        "the current one"
    )
    if sys.argv[:1] == ["-m"]:  # a command is being looked up: nobody wants a traceback
        print(f"error: {sentence}", file=sys.stderr)
        sys.exit(2)
    raise ImportError(sentence)


check_research()
