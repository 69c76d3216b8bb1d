"""Spans to write for an encoder-decoder: the pretraining of T5 (Raffel et al., 2020)."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from research.layers.sequences.lengths import valid_steps
from research.tokens import END, PADDING, START


class Counts(NamedTuple):
    """How many tokens of a text are hidden, in how many spans: of texts of 0, 1, 2, ... tokens, int32 [n + 1] each."""

    hidden: np.ndarray
    spans: np.ndarray

    @classmethod
    def of(cls, length: int, rate: float, mean: float) -> "Counts":
        """Return the counts of texts of up to `length` tokens, of which about `rate` are hidden, `mean` in a span.

        Of two tokens or more at least one is hidden and one is not, and between two spans there is one that is not.
        """
        n = np.arange(length + 1)
        hidden = np.clip(np.round(n * rate), 1, np.maximum(n - 1, 1)).astype(np.int32)
        spans = np.clip(np.round(hidden / mean), 1, np.maximum(np.minimum(hidden, n - hidden), 1)).astype(np.int32)
        return cls(hidden, spans)

    @property
    def source_length(self) -> int:
        """Tokens at most of what is read: those that are not hidden, one for each span, and the end."""
        return int((np.arange(len(self.hidden)) - self.hidden + self.spans).max()) + 1

    @property
    def target_length(self) -> int:
        """Tokens at most of what is written: those that are hidden, one for each span, and the end."""
        return int((self.hidden + self.spans).max()) + 1


def corrupt_spans(
    batch: dict[str, jax.Array], keys: jax.Array, *, counts: Counts, vocabulary: int
) -> dict[str, jax.Array]:
    """Return the batch as pairs: a text in which spans are hidden, and what they were.

    Of every text so many tokens in so many spans are hidden as `counts` says, their lengths and those between them
    drawn so that all are equally likely; it begins with a token that is not hidden and ends with one that is, so that
    of a text with one span the end is hidden. In `tokens` [b, s] each span is one sentinel, the first `vocabulary` - 1,
    the second `vocabulary` - 2, and so on; the target is each sentinel with the tokens that it stands for. Both end
    with the end token. Source: Raffel et al., "Exploring the limits of transfer learning with a unified text-to-text
    transformer" (2020, sections 3.1.4 and 3.3.4) and `random_spans_noise_mask` of the code that goes with it.

    Args:
        batch: `tokens` [b, l] and `lengths` [b], at least 2; other entries pass through.
        keys: one for each row [b].
        counts: of texts of up to l tokens.
        vocabulary: number of token ids, the sentinels among them.

    Returns:
        `tokens` [b, s] and `lengths` [b], `labels` [b, t] and `label_lengths` [b], and `targets` [b, t], what a decoder
        reads: the start token, then the labels but the last.
    """
    tokens, lengths = batch["tokens"], batch["lengths"]
    b, l = tokens.shape
    hidden = jax.vmap(hide, (0, 0, None, None))(keys, lengths, l, counts)  # [b, l]
    before = jnp.pad(hidden[:, :-1], ((0, 0), (1, 0)))
    begins = hidden & ~before
    sentinel = vocabulary - jnp.cumsum(begins, axis=1)  # of the span that a token is in
    there = valid_steps(lengths, b, l)
    source, source_lengths = _kept(
        jnp.where(hidden, sentinel, tokens), there & (begins | ~hidden), counts.source_length
    )
    # The sentinel of a span stands where the token before it was, which is none of the target's.
    ahead = jnp.pad(begins[:, 1:], ((0, 0), (0, 1)))
    labels, label_lengths = _kept(
        jnp.where(hidden, tokens, sentinel - 1), there & (hidden | ahead), counts.target_length
    )
    shifted = jnp.pad(labels[:, :-1], ((0, 0), (1, 0)), constant_values=START)
    return {
        **batch,
        "tokens": source,
        "lengths": source_lengths,
        "labels": labels,
        "label_lengths": label_lengths,
        "targets": jnp.where(valid_steps(label_lengths, *labels.shape), shifted, PADDING),
    }


def hide(key: jax.Array, n: jax.Array, l: int, counts: Counts) -> jax.Array:
    """Return which of the first n of l tokens are hidden, bool [l]."""
    here, between = jax.random.split(key)
    hidden, spans = jnp.asarray(counts.hidden)[n], jnp.asarray(counts.spans)[n]
    most = int(counts.spans.max())
    parts = [_composition(between, n - hidden, spans, l, most), _composition(here, hidden, spans, l, most)]
    ends = jnp.cumsum(jnp.stack(parts, axis=1).ravel())  # of what is not hidden, then what is, and so on: [2 most]
    step = jnp.arange(l)
    return (jnp.searchsorted(ends, step, side="right") % 2 == 1) & (step < n)


def _composition(key: jax.Array, n: jax.Array, parts: jax.Array, l: int, most: int) -> jax.Array:
    """Return the sizes of `parts` parts, none empty, of n <= l things, any such sizes equally likely: int32 [most]."""
    place = jnp.arange(l)
    gap = (place > 0) & (place < n)  # before which a part can begin
    drawn = jnp.where(gap, jax.random.uniform(key, (l,)), jnp.inf)
    begins = gap & (jnp.argsort(jnp.argsort(drawn)) < parts - 1)
    part = jnp.where(place < n, jnp.cumsum(begins), most)
    return jnp.zeros(most + 1, jnp.int32).at[part].add(1)[:most]


def _kept(values: jax.Array, keep: jax.Array, length: int) -> tuple[jax.Array, jax.Array]:
    """Return the values [b, l] that are kept and the end, [b, length], and their lengths [b]."""
    b = len(values)
    count = keep.sum(axis=1, dtype=jnp.int32)
    place = jnp.where(keep, jnp.cumsum(keep, axis=1) - 1, length)
    rows = jnp.arange(b)
    kept = jnp.full((b, length), PADDING, values.dtype).at[rows[:, None], place].set(values, mode="drop")
    return kept.at[rows, count].set(END), count + 1
