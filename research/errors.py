"""What a user got wrong, said in one sentence."""

import difflib
from collections.abc import Iterable, Sequence


class UsageError(ValueError):
    """A mistake in what was asked for, found before any computation; the command line exits with 2."""


class UnknownPathError(UsageError, AttributeError):
    """A dotted path that an experiment does not have."""


class UnknownClassError(UsageError):
    """A class that is neither the project's own nor among those that were named."""


class WrongTypeError(UsageError, TypeError):
    """A value of another type than its field's."""


class WrongValueError(UsageError):
    """A value of the right type outside its field's range."""


class RunError(RuntimeError):
    """A run that cannot continue or be read; the command line exits with 1."""


def unknown(what: str, word: str, options: Iterable[str]) -> UsageError:
    """Return what to raise for a word that is none of the options that there are for something."""
    return UsageError(f'unknown {what} "{word}"{suggestion(word, options)}')


def shortened(names: Sequence[str], most: int = 10) -> str:
    """Return the first of many names, and how many more there are."""
    more = len(names) - most
    return f"{', '.join(names[:most])} and {more} more" if more > 0 else ", ".join(names)


def suggestion(name: str, options: Iterable[str]) -> str:
    """Return ``; did you mean "x"?`` for the closest of `options`, or the list of them all where none is close."""
    options = sorted(options)
    close = difflib.get_close_matches(name, options, n=3, cutoff=0.6)
    if close:
        return "; did you mean " + " or ".join(f'"{match}"' for match in close) + "?"
    return "; valid names are " + ", ".join(options)
