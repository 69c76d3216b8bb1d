"""Words to predict for a masked language model (Devlin, Chang, Lee and Toutanova, 2019)."""

import jax
import jax.numpy as jnp

from research.errors import UsageError
from research.layers.sequences.lengths import read_sequence, valid_steps


def mask_tokens(
    batch: dict[str, jax.Array],
    key: jax.Array,
    *,
    vocabulary: int,
    mask_token: int,
    special_tokens: tuple[int, ...] = (),
    rate: float | jax.Array = 0.15,
) -> dict[str, jax.Array]:
    """Return the batch with words to predict: `tokens` masked, `targets` as they were, `predicted` where, all [b, l].

    Every token that counts and is not special is chosen with probability `rate`. Of the chosen, 80 % become the mask
    token, 10 % a token drawn from the whole vocabulary, 10 % stay; both results are zero past each row's length. A
    function of batch and key: another key for each step masks anew (dynamic masking, Liu et al., 2019). Source: Devlin
    et al. (2019, section 3.1).

    Args:
        batch: `tokens` [b, l] and optionally `lengths` [b]; other entries pass through.
        key: one for the whole batch, or one for each row [b], so that a row is masked alike in whatever batch it is.
        vocabulary: number of token ids.
        mask_token: id of the mask token.
        special_tokens: ids that are never predicted.
        rate: share of tokens predicted.

    Raises:
        UsageError: the mask token is not in the vocabulary.
    """
    if not 0 <= mask_token < vocabulary:
        raise UsageError(f"mask_token={mask_token} is not one of the {vocabulary} tokens of the vocabulary")
    tokens, lengths = read_sequence(batch, "tokens")
    b, l = tokens.shape
    eligible = jnp.ones((b, l), bool)
    if lengths is not None:
        eligible = valid_steps(lengths, b, l)
        tokens = jnp.where(eligible, tokens, 0)
    for special in special_tokens:
        eligible &= tokens != special

    def choose(key: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Return the draws of one row: whether a token is chosen, what becomes of it, and another token."""
        chosen, fate, other = jax.random.split(key, 3)
        return (
            jax.random.bernoulli(chosen, rate, (l,)),
            jax.random.uniform(fate, (l,)),
            jax.random.randint(other, (l,), 0, vocabulary, tokens.dtype),
        )

    chosen, fate, other = jax.vmap(choose)(key if key.ndim else jax.random.split(key, b))  # [b, l]
    predicted = eligible & chosen
    replaced = jnp.where(fate < 0.8, jnp.asarray(mask_token, tokens.dtype), jnp.where(fate < 0.9, other, tokens))
    return {**batch, "tokens": jnp.where(predicted, replaced, tokens), "targets": tokens, "predicted": predicted}
