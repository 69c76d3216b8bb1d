"""N-grams with Witten-Bell smoothing, beside the formula written down with dictionaries."""

from collections import Counter, defaultdict
from fractions import Fraction

import numpy as np
import pytest

from experiments.baselines.ngrams import NGrams
from experiments.text_transformer import baselines, experiment
from research.baselines import judge_missing
from research.errors import UsageError

V, L = 5, 4


def windows(text):
    """A text as windows of L tokens with those that follow, end to end; the last one is padded with zeros."""
    starts = range(0, len(text) - 1, L)
    padded = [*text, *[0] * L]
    return {
        "tokens": np.array([padded[start : start + L] for start in starts], np.int32),
        "targets": np.array([padded[start + 1 : start + 1 + L] for start in starts], np.int32),
        "lengths": np.array([min(L, len(text) - 1 - start) for start in starts], np.int32),
    }


def by_the_formula(text, order):
    """p(token | context) by recursion in fractions."""
    following = defaultdict(Counter)
    for length in range(order):
        for end in range(max(length, 1), len(text)):
            following[tuple(text[end - length : end])][text[end]] += 1

    def probability(token, context):
        seen = following.get(context)
        shorter = probability(token, context[1:]) if context else Fraction(1, V)
        if not seen:
            return shorter
        return (seen[token] + len(seen) * shorter) / (seen.total() + len(seen))

    return lambda token, context: probability(token, tuple(context[len(context) - min(order - 1, len(context)) :]))


@pytest.mark.parametrize("order", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("size", [2, 3, 9, 60])
def test_every_probability_is_that_of_the_formula(order, size):
    rng = np.random.default_rng(size)
    text, other = (rng.integers(0, high, size).tolist() for high in (V - 1, V))  # one token is never trained on
    probability, shown = by_the_formula(text, order), windows(other)
    found = NGrams(V, order).fit(windows(text), {}, 0).predict(shown)["log_probability"]
    assert found.shape == (*shown["tokens"].shape, V)
    for row, window in enumerate(shown["tokens"].tolist()):
        for step in range(L):
            expected = [float(probability(token, window[: step + 1])) for token in range(V)]
            np.testing.assert_allclose(np.exp(found[row, step]), expected, rtol=1e-12)


def test_a_known_number_by_hand():
    """In a b a b a of two tokens: after a twice b; p(b) = (2 + 2/2) / 6 and p(b | a) = (2 + p(b)) / 3 = 5/6."""
    found = NGrams(2, 2).fit(windows([0, 1, 0, 1, 0]), {}, 0).predict({"tokens": np.array([[0]])})["log_probability"]
    np.testing.assert_allclose(np.exp(found[0, 0]), [1 / 6, 5 / 6])


def test_probabilities_add_up_and_see_neither_what_comes_nor_other_windows():
    rng = np.random.default_rng(0)
    fitted = NGrams(V, 3).fit(windows(rng.integers(0, V, 50).tolist()), {}, 0)
    tokens = rng.integers(0, V, (6, L))
    found = fitted.predict({"tokens": tokens})["log_probability"]
    np.testing.assert_allclose(np.exp(found).sum(-1), 1)
    changed = tokens.copy()
    changed[:, 2:] = (changed[:, 2:] + 1) % V
    np.testing.assert_array_equal(fitted.predict({"tokens": changed})["log_probability"][:, :2], found[:, :2])
    np.testing.assert_array_equal(fitted.predict({"tokens": tokens[3:4]})["log_probability"], found[3:4])


def test_what_is_no_text_is_refused():
    with pytest.raises(UsageError, match="gives no lengths, targets, tokens"):
        NGrams().fit({"image": np.zeros((3, 2))}, {}, 0)
    with pytest.raises(UsageError, match="a vocabulary of 3, but the text has the token 4"):
        NGrams(3).fit(windows([0, 4, 1]), {}, 0)


def test_six_grams_of_pydoc_topics(tmp_path):
    """Python's own text, which differs a little from one version to the next: 2.203 bits a byte in 3.11."""
    (judgement,) = judge_missing(experiment, baselines, tmp_path / "baselines", data_dir=str(tmp_path))
    assert judgement.error == ""
    assert judgement.metrics["test"]["bits_per_byte"] == pytest.approx(2.203, abs=0.1)
