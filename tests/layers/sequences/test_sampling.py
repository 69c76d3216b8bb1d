from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from research.errors import UsageError
from research.layers.sequences.sampling import generate, min_p, penalize, sample, top_k, top_p
from research.models.text.transformer import TransformerLanguageModel

PROBABILITIES = np.array([0.1, 0.4, 0.05, 0.25, 0.2])
LOGITS = jnp.log(jnp.asarray(PROBABILITIES, jnp.float32))[None]
INF = np.inf
GENERATION = Path(__file__).parents[2] / "golden" / "generation.npz"
SETTINGS = (
    {"repetition_penalty": 1.3},
    {"repetition_penalty": 0.7},
    {"temperature": 0.5},
    {"top_k": 4},
    {"top_p": 0.6},
    {"min_p": 0.2},
    {"temperature": 1.7, "top_k": 9, "top_p": 0.9},
    {"temperature": 0.6, "top_p": 0.8, "min_p": 0.1},
    {"repetition_penalty": 1.8, "temperature": 1.4, "top_k": 12, "top_p": 0.95, "min_p": 0.05},
)
"""As in tests/golden/generation.py."""


def kept(logits):
    return (np.asarray(logits) > -INF).tolist()


def shares(count=20000, **options):
    draw = jax.jit(jax.vmap(lambda key: sample(key, LOGITS, **options)[0]))
    return np.bincount(draw(jax.random.split(jax.random.key(0), count)), minlength=5) / count


def test_top_k_keeps_the_highest_and_those_equal_to_the_last():
    assert kept(top_k(LOGITS, 2)[0]) == [False, True, False, True, False]
    assert kept(top_k(jnp.array([1.0, 3.0, 1.0, 0.0]), 2)) == [True, True, True, False]
    np.testing.assert_array_equal(top_k(LOGITS, 9), LOGITS)
    with pytest.raises(UsageError, match="top_k must be at least 1, not 0"):
        top_k(LOGITS, 0)


@pytest.mark.parametrize(
    "p, expected",
    [
        (0.0, [False, True, False, False, False]),
        (0.39, [False, True, False, False, False]),
        (0.41, [False, True, False, True, False]),
        (0.64, [False, True, False, True, False]),
        (0.66, [False, True, False, True, True]),
        (0.94, [True, True, False, True, True]),
        (0.96, [True, True, True, True, True]),
        (1.0, [True, True, True, True, True]),
    ],
)
def test_top_p_keeps_the_fewest_that_reach_it(p, expected):
    assert kept(jax.jit(top_p)(LOGITS, p)[0]) == expected
    assert kept(jax.jit(lambda logits: top_p(logits, p))(LOGITS)[0]) == expected


def test_top_p_of_one_leaves_all_there_is():
    """However the probabilities of unlikely tokens add up in float32."""
    logits = jnp.concatenate([jnp.array([20.0]), jnp.linspace(0, -30, 999)])
    for p in (1.0, jnp.float32(1)):
        np.testing.assert_array_equal(top_p(logits, p), logits)


def test_top_p_takes_each_row_by_itself():
    rows = jnp.stack([LOGITS[0], jnp.array([9.0, 0.0, 0.0, 0.0, 0.0])])
    assert kept(top_p(rows, 0.6)) == [[False, True, False, True, False], [True, False, False, False, False]]


@pytest.mark.parametrize(
    "options, expected",
    [
        ({}, PROBABILITIES),
        ({"temperature": 0.5}, PROBABILITIES**2 / (PROBABILITIES**2).sum()),
        ({"temperature": 2.0}, PROBABILITIES**0.5 / (PROBABILITIES**0.5).sum()),
        ({"k": 3}, np.array([0, 0.4, 0, 0.25, 0.2]) / 0.85),
        ({"p": 0.6}, np.array([0, 0.4, 0, 0.25, 0]) / 0.65),
        ({"k": 3, "p": 0.7}, np.array([0, 0.4, 0, 0.25, 0]) / 0.65),  # of the three kept, two reach 0.76
        ({"temperature": 0.5, "k": 2}, np.array([0, 0.16, 0, 0.0625, 0]) / 0.2225),
    ],
)
def test_tokens_are_drawn_as_often_as_computed_by_hand(options, expected):
    found = shares(**options)
    np.testing.assert_allclose(found, expected, atol=4 * 0.5 / np.sqrt(20000))
    assert (found[expected == 0] == 0).all()


def test_draws_are_a_function_of_the_key_and_rows_are_independent():
    logits = jnp.zeros((1000, 7))
    one, again, other = (sample(jax.random.key(seed), logits) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, again)
    assert one.dtype == jnp.int32 and (one != other).mean() > 0.7 and len(np.unique(one)) == 7


def test_temperature_and_p_are_arguments_and_map():
    traced = jax.jit(chex.assert_max_traces(lambda t, p: sample(jax.random.key(0), LOGITS, temperature=t, p=p), n=1))
    found = [traced(t, p)[0] for t, p in ((0.01, 1.0), (100.0, 0.01))]
    assert found == [1, 1]
    warmed = jax.vmap(lambda t: sample(jax.random.key(3), jnp.tile(LOGITS, (500, 1)), temperature=t))
    many = jax.jit(warmed)(jnp.array([0.05, 5.0]))
    assert (many[0] == 1).all() and len(np.unique(many[1])) == 5


def counting(carry, tokens):
    """A step that knows what it read: the next token is the last one plus one, all but for sure."""
    return carry + 1, 50.0 * jax.nn.one_hot((tokens + 1) % 7, 7)


def test_generation_reads_what_it_wrote():
    first = 50.0 * jax.nn.one_hot(jnp.array([2, 5]), 7)
    run = jax.jit(lambda key: generate(counting, jnp.zeros(2), first, key, 6))
    np.testing.assert_array_equal(run(jax.random.key(0)), [[2, 3, 4, 5, 6, 0], [5, 6, 0, 1, 2, 3]])
    ended = generate(counting, jnp.zeros(2), first, jax.random.key(0), 6, end=6)
    np.testing.assert_array_equal(ended, [[2, 3, 4, 5, 6, 6], [5, 6, 6, 6, 6, 6]])
    np.testing.assert_array_equal(generate(counting, jnp.zeros(2), first, jax.random.key(0), 1), [[2], [5]])
    with pytest.raises(UsageError, match="at least one step, not 0"):
        generate(counting, jnp.zeros(2), first, jax.random.key(0), 0)


def test_each_step_has_a_draw_of_its_own():
    def flat(carry, tokens):
        return carry, jnp.zeros((len(tokens), 11))

    tokens = generate(flat, None, jnp.zeros((300, 11)), jax.random.key(0), 20)
    assert abs((tokens[:, 1:] == tokens[:, :-1]).mean() - 1 / 11) < 4 * np.sqrt(1 / 11 / tokens.size)
    np.testing.assert_array_equal(tokens, generate(flat, None, jnp.zeros((300, 11)), jax.random.key(0), 20))


def test_a_row_with_a_key_of_its_own_draws_alone():
    keys, logits = jax.random.split(jax.random.key(0), 50), jnp.zeros((50, 11))
    whole = sample(keys, logits)
    assert len(np.unique(whole)) > 5
    np.testing.assert_array_equal(sample(keys[13:14], logits[13:14]), whole[13:14])

    def flat(carry, tokens):
        return carry, jnp.zeros((len(tokens), 11))

    text = generate(flat, None, logits, keys, 7)
    np.testing.assert_array_equal(text[:, 0], sample(jax.vmap(jax.random.fold_in, (0, None))(keys, 0), logits))
    np.testing.assert_array_equal(generate(flat, None, logits[13:14], keys[13:14], 7), text[13:14])
    assert abs((text[:, 1:] == text[:, :-1]).mean() - 1 / 11) < 0.08


def test_a_temperature_of_zero_takes_the_likeliest():
    np.testing.assert_array_equal(sample(jax.random.key(0), jnp.tile(LOGITS, (9, 1)), temperature=0.0), np.ones(9))


def test_a_language_model_writes_what_it_would_without_a_cache():
    """At a temperature near zero; the prompts differ in length."""
    model = TransformerLanguageModel(layers=2, width=12, heads=3, vocabulary=11, positions="alibi")
    tokens, lengths = np.random.default_rng(0).integers(0, 11, (2, 4)), np.array([4, 2])
    variables = jax.jit(model.init)(jax.random.key(0), tokens)

    @jax.jit
    def write(variables):
        bound = model.bind(variables)
        cache, logits = bound.start({"tokens": tokens, "lengths": lengths}, 9)
        return generate(bound.step, cache, logits, jax.random.key(0), 5, temperature=1e-4)

    recompute = jax.jit(lambda text: model.apply(variables, text))
    for row, length, found in zip(tokens, lengths, write(variables), strict=True):
        text = list(row[:length])
        for _ in range(5):
            text.append(int(recompute(np.array([text + [0] * (9 - len(text))]))[0, len(text) - 1].argmax()))
        assert text[length:] == found.tolist()


def test_logits_become_what_they_become_in_transformers():
    """With each processor by itself and all of them in a row."""
    with np.load(GENERATION) as archive:
        arrays = dict(archive)
    logits = jnp.asarray(arrays["logits"])
    seen = jnp.zeros(logits.shape, bool).at[np.arange(5)[:, None], arrays["seen"]].set(True)
    for index, setting in enumerate(SETTINGS):
        found = penalize(logits, seen, setting.get("repetition_penalty", 1.0))
        found = found / setting.get("temperature", 1.0)
        found = top_k(found, setting["top_k"]) if "top_k" in setting else found
        found = top_p(found, setting["top_p"]) if "top_p" in setting else found
        found = min_p(found, setting["min_p"]) if "min_p" in setting else found
        np.testing.assert_allclose(found, arrays[f"processed/{index}"], rtol=1e-6, err_msg=str(setting))
        drawn = sample(
            jax.random.key(index),
            penalize(logits, seen, setting.get("repetition_penalty", 1.0)),
            temperature=setting.get("temperature", 1.0),
            k=setting.get("top_k"),
            p=setting.get("top_p"),
            share=setting.get("min_p"),
        )
        np.testing.assert_array_equal(drawn, jax.random.categorical(jax.random.key(index), found))


def test_min_p_keeps_what_is_as_likely_as_a_share_of_the_likeliest():
    assert kept(min_p(LOGITS, 0.6)[0]) == [False, True, False, True, False]
    assert kept(min_p(LOGITS, 1.0)[0]) == [False, True, False, False, False]
    assert kept(jax.jit(min_p)(jnp.zeros((1, 3)), 1.0)) == [[True, True, True]]
