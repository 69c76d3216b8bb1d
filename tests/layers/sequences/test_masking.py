import jax
import numpy as np
import pytest

from research.errors import UsageError
from research.layers.sequences.masking import mask_tokens

LARGE = np.random.default_rng(0).integers(0, 1000, (400, 101))
RUN = jax.jit(lambda batch, key: mask_tokens(batch, key, vocabulary=1000, mask_token=4, special_tokens=(0, 1, 4)))


def test_fifteen_percent_are_predicted_and_of_them_80_10_10():
    out = jax.tree.map(np.asarray, RUN({"tokens": LARGE}, jax.random.key(0)))
    predicted, tokens = out["predicted"], out["tokens"]
    eligible = ~np.isin(LARGE, (0, 1, 4))
    np.testing.assert_array_equal(out["targets"], LARGE)
    np.testing.assert_array_equal(tokens[~predicted], LARGE[~predicted])
    assert not predicted[~eligible].any()

    def share(found, among, expected):
        assert abs(found.sum() / among.sum() - expected) < 4 * np.sqrt(expected * (1 - expected) / among.sum())

    share(predicted, eligible, 0.15)
    masked, same = predicted & (tokens == 4), predicted & (tokens == LARGE)
    share(masked, predicted, 0.8 + 0.1 / 1000)
    share(same, predicted, 0.1 + 0.1 / 1000)
    drawn = tokens[predicted & ~masked & ~same]
    assert abs(drawn.mean() - 499.5) < 4 * 1000 / np.sqrt(12 * drawn.size) and drawn.min() < 20 and drawn.max() > 980
    assert predicted.any(0).all() and predicted.any(1).all()


def test_masking_is_a_function_of_batch_and_key():
    one, again, other = (RUN({"tokens": LARGE}, jax.random.key(seed)) for seed in (1, 1, 2))
    jax.tree.map(np.testing.assert_array_equal, one, again)
    assert 0.2 < (one["predicted"] != other["predicted"]).mean() < 0.3


def test_padding_is_never_predicted_and_the_rest_of_the_batch_stays():
    lengths, label = np.arange(400) % 101, np.arange(400)
    out = RUN({"tokens": LARGE, "lengths": lengths, "label": label}, jax.random.key(0))
    assert not (out["predicted"] & (np.arange(101)[None] >= lengths[:, None])).any()
    np.testing.assert_array_equal(out["label"], label)
    np.testing.assert_array_equal(out["lengths"], lengths)


def test_a_mask_token_outside_the_vocabulary_is_refused():
    with pytest.raises(UsageError, match="mask_token=29 is not one of the 29 tokens"):
        mask_tokens({"tokens": LARGE}, jax.random.key(0), vocabulary=29, mask_token=29)


def test_with_a_key_a_row_it_is_masked_alike_in_any_batch():
    keys = jax.random.split(jax.random.key(3), 400)
    whole = RUN({"tokens": LARGE}, keys)
    rows = np.array([311, 5, 5, 87])
    part = RUN({"tokens": LARGE[rows]}, keys[rows])
    for name in ("tokens", "predicted"):
        np.testing.assert_array_equal(part[name], whole[name][rows])
    assert (whole["predicted"][:-1] != whole["predicted"][1:]).mean() > 0.2  # each row has its own draws
