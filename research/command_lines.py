"""Command lines, parsed by tyro, whose mistakes are told in one sentence like all others."""

import contextlib
import io
import re
import sys
from typing import Any

import tyro

from research.errors import UsageError


def parse(kind: type, **options: Any) -> Any:
    """Return what `tyro.cli` makes of a command line; prints help and exits where that is asked for.

    Raises:
        UsageError: a flag is not known, has no value or one that does not fit, or is missing.
    """
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return tyro.cli(kind, use_underscores=True, **options)
    except SystemExit as left:
        if not left.code:
            raise
        text, said = said.getvalue(), io.StringIO()
        raise UsageError(sentence(text)) from None
    finally:
        print(said.getvalue(), end="", file=sys.stderr)  # such as warnings


def sentence(box: str) -> str:
    """Return what tyro says in a box: what is wrong, and which flags it takes to be meant.

    Where standard output is not known to show lines, a title and a rule stand for the box's upper edge.
    """
    rows = re.sub(r"\x1b\[[\d;]*m", "", box).strip("\n").splitlines()
    inside = [row[2:-2] for row in rows[1:-1]] if box.count("│") else [row[2:] for row in rows[2:]]
    if not inside:
        return box.strip()
    wrong, *others = re.split(r"(?m)^[─-]{3,}$", "\n".join(map(str.rstrip, inside)))
    similar = "\n".join(other for other in others if re.match(r"\s*(Perhaps|Arguments similar)", other))
    meant = list(dict.fromkeys(re.findall(r"(?m)^    (--[\w.]+)", similar)))
    if wrong.lstrip().startswith("Missing"):
        names = re.findall(r"(?m)^    (\S+)", wrong)  # what each is stands below it, further in
        return f"{' and '.join(names)} must be given; --help says what there is"
    told = " ".join(wrong.split()).rstrip(".").replace("Error parsing", "cannot read", 1)
    hint = f"did you mean {' or '.join(meant)}?" if meant else "--help says what there is"
    return f"{told[:1].lower()}{told[1:]}; {hint}"
