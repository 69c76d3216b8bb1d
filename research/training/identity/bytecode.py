"""What a class without a source computes, by what Python compiled it to."""

import hashlib
import types
from collections.abc import Iterator
from typing import Any


def digest(cls: type) -> str:
    """Return 32 hexadecimal digits of what a class does: of its functions, and of those beside it that they call.

    Names of local variables, lines and docstrings do not enter; another version of Python gives another digest.
    """
    found: dict[str, Any] = {}
    waiting: list[Any] = [cls]
    while waiting:
        each = waiting.pop()
        if each.__qualname__ in found:
            continue
        functions = list(_functions(each))
        found[each.__qualname__] = [_said(function.__code__) for function in functions]
        waiting += [
            named
            for function in functions
            for name in _read(function.__code__)
            if (named := function.__globals__.get(name)) is not None
            and isinstance(named, type | types.FunctionType)
            and named.__module__ == cls.__module__
        ]
    return hashlib.blake2b(repr(sorted(found.items())).encode(), digest_size=16).hexdigest()


def _functions(each: Any) -> Iterator[types.FunctionType]:
    """Yield the functions of a class by name, or the one that this is."""
    if isinstance(each, types.FunctionType):
        yield each
        return
    for _, item in sorted(vars(each).items()):
        for inner in (item, *(getattr(item, name, None) for name in ("__func__", "fget", "__wrapped__"))):
            if isinstance(inner, types.FunctionType) and inner.__module__ == each.__module__:
                yield inner


def _said(code: types.CodeType) -> Any:
    """Return instructions, names and constants of a function, those within it too."""
    constants = [_said(each) if isinstance(each, types.CodeType) else repr(each) for each in code.co_consts]
    documented = code.co_consts[:1] and isinstance(code.co_consts[0], str)
    return code.co_code.hex(), code.co_names, constants[1:] if documented else constants


def _read(code: types.CodeType) -> Iterator[str]:
    """Yield every name that a function reads from outside of it."""
    yield from code.co_names
    for each in code.co_consts:
        if isinstance(each, types.CodeType):
            yield from _read(each)
