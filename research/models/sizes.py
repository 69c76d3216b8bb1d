"""Published sizes of an architecture, by name."""

from collections.abc import Mapping
from typing import Any

from research.errors import UsageError, suggestion


def variant(sizes: Mapping[Any, dict[str, Any]], size: str | int) -> dict[str, Any]:
    """Return the fields of a published size from its table, or raise `UsageError` naming the sizes there are."""
    if size not in sizes:
        raise UsageError(f'there is no size "{size}"{suggestion(str(size), [str(known) for known in sizes])}')
    return sizes[size]
