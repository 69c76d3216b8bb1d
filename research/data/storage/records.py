"""Random access to one split, in dataset order."""

import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import jax
import numpy as np

from research.errors import RunError, UsageError

Arrays = dict[str, np.ndarray]
Place = Callable[[np.ndarray], jax.Array]
Ranges = dict[str, tuple[int, int]]
"""The least and the greatest of the whole numbers that an entry may hold."""

_CHUNK = 1024  # examples decoded at a time while a split is materialised, so that no second copy of it exists


class Source(Protocol):
    """What reads examples by number, such as a TFDS data source."""

    def __len__(self) -> int: ...

    def __getitems__(self, keys: Sequence[int], /) -> Sequence[dict[str, Any]]: ...


class Part:
    """Examples `start` to `stop` of another source."""

    def __init__(self, source: Source, start: int, stop: int) -> None:
        self._source, self._span = source, range(len(source))[start:stop]

    def __len__(self) -> int:
        return len(self._span)

    def __getitems__(self, keys: Sequence[int], /) -> Sequence[dict[str, Any]]:
        return self._source.__getitems__([self._span[key] for key in keys])


class Records:
    """The examples of `source`, restricted to the entries of `spec`.

    Nothing is held in memory until `arrays` or `placed` asks for it.
    """

    def __init__(self, source: Source, spec: dict[str, jax.ShapeDtypeStruct]) -> None:
        self.spec = spec
        self._source = source
        self._arrays: Arrays | None = None
        self._columns: Arrays = {}
        self._placed: dict[Place, dict[str, jax.Array]] = {}
        self._ranges: Ranges = {}

    @classmethod
    def of(cls, arrays: Arrays) -> "Records":
        """Return records of arrays in memory, every entry [n, ...]."""
        spec = {name: jax.ShapeDtypeStruct(array.shape[1:], array.dtype) for name, array in arrays.items()}
        records = cls(range(len(next(iter(arrays.values())))), spec)  # type: ignore[arg-type]
        records._arrays = arrays
        return records

    def within(self, ranges: Ranges) -> "Records":
        """Return these records, which from now on refuse numbers outside the ranges, where they have such entries.

        What is in memory is looked at now, everything else when it is read.

        Raises:
            UsageError: a number is outside; names the example.
        """
        self._ranges = {name: of for name, of in ranges.items() if name in self.spec}
        if self._arrays is not None:
            self._check(range(len(self)), self._arrays)
        return self

    def _check(self, indices: Sequence[int], arrays: Arrays) -> None:
        """Raise `UsageError` where one of these examples holds a number that it may not."""
        for name, (least, greatest) in self._ranges.items():
            outside = (arrays[name] < least) | (arrays[name] > greatest)
            if len(wrong := np.argwhere(outside)):
                number = arrays[name][tuple(wrong[0])]
                raise UsageError(
                    f'example {indices[wrong[0][0]]} of a split has {number} as its "{name}", which the data say is '
                    f"from {least} to {greatest}"
                )

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, indices: np.ndarray) -> Arrays:
        """Return the examples at integer `indices` [n], stacked: every entry is [n, ...].

        Raises:
            IndexError: an index is negative or past the end.
        """
        indices = np.asarray(indices)
        if indices.size and not (indices.min() >= 0 and indices.max() < len(self)):
            raise IndexError(f"indices {indices.min()} to {indices.max()} do not fit {len(self)} examples")
        if self._arrays is not None:
            return {name: array[indices] for name, array in self._arrays.items()}
        return self._read(indices)

    @property
    def nbytes(self) -> int:
        """Bytes of the whole split in memory."""
        return len(self) * sum(math.prod(item.shape) * item.dtype.itemsize for item in self.spec.values())

    def arrays(self) -> Arrays:
        """Return the whole split in memory; read once, then kept."""
        if self._arrays is None:
            arrays = {name: np.empty((len(self), *item.shape), item.dtype) for name, item in self.spec.items()}
            for start in range(0, len(self), _CHUNK):
                stop = min(start + _CHUNK, len(self))
                for name, array in self._read(np.arange(start, stop)).items():
                    arrays[name][start:stop] = array
            self._arrays = arrays
        return self._arrays

    def columns(self, names: Sequence[str]) -> Arrays:
        """Return a few small entries of the whole split, [n, ...]; read once, then kept, without any other entry."""
        if self._arrays is None and not self._columns.keys() >= set(names):
            chunks = np.array_split(np.arange(len(self)), -(-len(self) // _CHUNK))
            parts = [{name: array for name, array in self._read(chunk).items() if name in names} for chunk in chunks]
            self._columns = {name: np.concatenate([part[name] for part in parts]) for name in names}
        found = self._columns if self._arrays is None else self._arrays
        return {name: found[name] for name in names}

    def placed(self, place: Place) -> dict[str, jax.Array]:
        """Return the whole split where `place` puts an array; put once per `place`, then kept and shared."""
        if place not in self._placed:
            self._placed[place] = {name: place(array) for name, array in self.arrays().items()}
        return self._placed[place]

    def _read(self, indices: np.ndarray) -> Arrays:
        """Decode the examples at `indices` from the source."""
        examples = read(self._source, indices.tolist())
        arrays = {
            name: np.array([example[name] for example in examples], item.dtype).reshape(len(indices), *item.shape)
            for name, item in self.spec.items()
        }
        self._check(indices.tolist(), arrays)
        return arrays


def read(source: Source, keys: Sequence[int]) -> Sequence[dict[str, Any]]:
    """Return the examples numbered `keys`.

    Raises:
        UsageError: a file of the user's own is damaged.
        RunError: the files of a prepared dataset are damaged.
    """
    try:
        return source.__getitems__(keys)
    except UsageError:
        raise
    except (RuntimeError, ValueError, OSError) as error:  # what a truncated or garbled ArrayRecord raises
        reason = str(error).splitlines()[0][:200]
        where = "" if (first := _first_damaged(source, keys)) is None else f" at example {first} of a split"
        raise RunError(f"the prepared dataset is damaged{where}: {reason}; prepare it in another --data-dir") from error


def _first_damaged(source: Source, keys: Sequence[int]) -> int | None:
    """Return the first of the examples numbered `keys` that cannot be read alone, None where each can."""
    for key in keys:
        try:
            source.__getitems__([key])
        except (RuntimeError, ValueError, OSError):
            return key
    return None
