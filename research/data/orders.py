"""In which order training examples come, as a part of the value; `research.data.batching.order` computes it."""

import dataclasses

from research.fields import Size


@dataclasses.dataclass(frozen=True)
class Uniform:
    """Every epoch is a fresh permutation of all examples; batches are not cut."""


@dataclasses.dataclass(frozen=True)
class Bucketed:
    """Batches of examples of about one length, each cut to the smallest boundary that holds all of it: less padding.

    A bucket holds the examples that are longer than one boundary and no longer than the next; past the last one is
    another bucket, which is not cut. Every epoch still has each example once. It is a fresh permutation, of which the
    whole batches are sorted by bucket, cut apart and shuffled, so that few batches are of two buckets; what completes
    the last batch of the epoch before, and what begins the first one of the next, stays as drawn.

    The batches of an epoch are less alike than those of `Uniform`, which may cost accuracy. Evaluation is as ever, in
    dataset order and at the full length. A model that ignores padding computes the same from a batch that is cut. One
    that does not, as by a mean over the padding, learns something else; one that lays steps side by side cannot be
    given fewer, and is refused.
    """

    boundaries: tuple[Size, ...]
    """Steps that batches are cut to, ascending and below the full length; one program is compiled for each, and one for
    the full length."""

    def steps(self, longest: int, full: int) -> int:
        """Return to how many of `full` steps a batch is cut whose longest example has so many."""
        return next((boundary for boundary in self.boundaries if longest <= boundary), full)


Order = Uniform | Bucketed
