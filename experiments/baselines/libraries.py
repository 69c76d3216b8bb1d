"""How baselines use libraries that the project itself does without."""

import contextlib

from research.errors import UsageError

INSTALL = 'pip install "ceteris-research[baselines]"'


def one_thread() -> contextlib.AbstractContextManager[object]:
    """Return a context in which products of matrices take one thread; enter it at once.

    Few numbers are slower divided: on two busy cores a logistic regression of digits takes 15 s with two threads and
    0.06 s with one, ARIMA(9,0,0) of sunspots 6.4 s and 0.24 s. And so the result depends on no number of cores.
    """
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        raise UsageError(f"baselines of libraries need threadpoolctl: {INSTALL}") from None
    return threadpool_limits(1)
