"""The order of tests for workers that steal from each other: slow files first, and as many of them for each worker.

Each worker begins with an equal part of the list, and who is done takes from the end of what another has left. So what
is left for the end has to be quick: where a file of slow tests comes last, one worker runs it and the others wait.
"""

from collections.abc import Callable, Hashable, Sequence
from itertools import groupby
from typing import TypeVar

Test = TypeVar("Test")


def balanced(
    tests: Sequence[Test], workers: int, file: Callable[[Test], Hashable], slow: Callable[[Test], bool]
) -> list[Test]:
    """Return tests in an order whose `workers` equal parts each begin with a share of the files that have slow ones.

    A file stays together, for its fixtures; only quick files are cut where a part ends.
    """
    files = [list(found) for _, found in groupby(tests, key=file)]
    with_slow = [found for found in files if any(map(slow, found))]
    with_slow.sort(key=lambda found: sum(map(slow, found)), reverse=True)
    quick = [test for found in files if not any(map(slow, found)) for test in found]
    order: list[Test] = []
    for worker in range(workers):
        order += [test for found in with_slow[worker::workers] for test in found]
        end = len(tests) * (worker + 1) // workers
        order, quick = order + quick[: max(0, end - len(order))], quick[max(0, end - len(order)) :]
    return order
