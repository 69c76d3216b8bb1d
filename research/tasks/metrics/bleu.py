"""BLEU from sums: Papineni, Roukos, Ward and Zhu, "BLEU: a method for automatic evaluation of machine translation"."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from research.errors import UsageError
from research.tokens import UNKNOWN

ORDERS = 4


def ngram_sums(
    written: jax.Array, written_lengths: jax.Array, reference: jax.Array, reference_lengths: jax.Array
) -> dict[str, jax.Array]:
    """Return what BLEU needs of tokens [b, t] with lengths [b], summed over the batch, int32.

    `matches` [4] counts the n-grams that also stand in the reference, each at most as often as there (clipped, 2002,
    section 2.1), `ngrams` [4] all that were written, for n = 1 to 4; `written` and `reference` are the tokens. An
    unknown token matches none: what it stands for may be anything.
    """
    b, t = written.shape
    inside, known = (jnp.arange(t)[None] < lengths[:, None] for lengths in (written_lengths, reference_lengths))
    same = (written[:, :, None] == reference[:, None]) & inside[:, :, None] & known[:, None]  # [b, t, t]
    same &= (written != UNKNOWN)[:, :, None]
    again = (written[:, :, None] == written[:, None]) & inside[:, :, None] & inside[:, None]
    matches, ngrams, same_all, again_all = [], [], same, again
    for n in range(1, ORDERS + 1):
        if n > 1:  # equal n-grams begin with equal (n - 1)-grams and end with equal tokens
            same_all = same_all[:, :-1, :-1] & same[:, n - 1 :, n - 1 :]
            again_all = again_all[:, :-1, :-1] & again[:, n - 1 :, n - 1 :]
        before = jnp.tril(again_all, -1).sum(axis=2)  # how often this n-gram was written before
        matches.append((before < same_all.sum(axis=2)).sum())
        ngrams.append(jnp.maximum(written_lengths - n + 1, 0).sum())
    sums = {
        "matches": jnp.stack(matches),
        "ngrams": jnp.stack(ngrams),
        "written": written_lengths.sum(),
        "reference": reference_lengths.sum(),
    }
    return {name: value.astype(jnp.int32) for name, value in sums.items()}


def bleu(sums: dict[str, Any]) -> float:
    """Return BLEU in [0, 100] from sums over a whole split, as sacrebleu does, with its exponential smoothing.

    Without a single reference token it is NaN.
    """
    if not sums["reference"]:
        return math.nan
    matches, ngrams = (np.asarray(sums[name]).tolist() for name in ("matches", "ngrams"))
    written, reference = int(sums["written"]), int(sums["reference"])
    return float(scorer().compute_bleu(matches, ngrams, written, reference, smooth_method="exp").score)


def scorer() -> Any:
    """Return sacrebleu's BLEU; raise `UsageError` where it is not installed."""
    try:
        from sacrebleu.metrics import BLEU
    except ImportError:
        raise UsageError('BLEU needs sacrebleu: pip install "ceteris-research[text]"') from None
    return BLEU
