"""A language model that counts: n-grams with Witten-Bell smoothing."""

import dataclasses
from typing import NamedTuple

import numpy as np

from research.baselines import Baseline, Columns, Examples
from research.errors import UsageError
from research.fields import Size


@dataclasses.dataclass(frozen=True)
class NGrams(Baseline):
    """Interpolated n-grams with the smoothing of Witten and Bell.

    After a context h that training text has c times, followed by t different tokens,

        p(w | h) = (c(h w) + t p(w | h')) / (c + t)

    where h' is h without its oldest token, down to the empty context, below which all tokens are alike. A context that
    training text has not passes on p(w | h'). Witten and Bell, "The zero-frequency problem" (1991), method C; Chen and
    Goodman, "An empirical study of smoothing techniques for language modeling" (1998), section 2.5.

    A context never reaches beyond the window that a model sees, nor, in a window of several texts, into another one.
    """

    vocabulary: Size = 256
    """Tokens to choose from."""
    order: Size = 6
    """Tokens of the longest n-gram, the predicted one among them."""

    def fit(self, train: Examples, validation: Examples, seed: int) -> "FittedNGrams":
        """Return the counts of the training text.

        Raises:
            UsageError: examples are not windows of text, or have tokens beyond the vocabulary.
        """
        if missing := {"tokens", "targets", "lengths"} - set(train):
            raise UsageError(f"n-grams read text, but the data gives no {', '.join(sorted(missing))}")
        text, age = _texts(train)
        if (largest := text.max()) >= self.vocabulary:
            raise UsageError(f"n-grams have a vocabulary of {self.vocabulary}, but the text has the token {largest}")
        (index,) = np.nonzero(age)  # of each token that follows one
        node = np.zeros(len(index), np.int64)  # the number of its context
        levels = [_level(np.zeros(1, np.int64), node, text[index], self.vocabulary)]
        for length in range(1, min(self.order, 1 + age.max())):
            older = age[index] >= length  # those that have one more token before the context so far
            index, node = index[older], node[older]
            keys, node = np.unique(node * self.vocabulary + text[index - length], return_inverse=True)
            levels.append(_level(keys, node, text[index], self.vocabulary))
        return FittedNGrams(tuple(levels), self.vocabulary)


class Level(NamedTuple):
    """The contexts of one length, each a node below that of its most recent tokens.

    The context number i is that of `keys[i]`, (number of the shorter context) * vocabulary + its oldest token; keys
    ascend. `tokens[starts[i] : starts[i + 1]]` follow it, `counts` times each.
    """

    keys: np.ndarray
    starts: np.ndarray
    tokens: np.ndarray
    counts: np.ndarray


class FittedNGrams(NamedTuple):
    """Counts by length of the context, from none on."""

    levels: tuple[Level, ...]
    vocabulary: int

    def predict(self, examples: Examples) -> Columns:
        """Return `log_probability` [n, l, vocabulary] of each next token."""
        tokens = examples["tokens"].astype(np.int64)
        n, l = tokens.shape
        documents = examples.get("documents", np.ones((n, l), np.int64))
        probability = np.full((n * l, self.vocabulary), 1 / self.vocabulary)
        context = np.zeros((n, l), np.int64)  # its number among those of the level, -1 where training has it not
        for length, level in enumerate(self.levels[: l + 1]):
            if length:
                oldest = np.full((n, l), -1, np.int64)
                reached = documents[:, : l - length + 1] == documents[:, length - 1 :]
                oldest[:, length - 1 :] = np.where(reached, tokens[:, : l - length + 1], -1)
                context = _number(level.keys, context * self.vocabulary + oldest, (context >= 0) & (oldest >= 0))
            (rows,) = np.nonzero(context.ravel() >= 0)
            first, last = level.starts[context.ravel()[rows]], level.starts[context.ravel()[rows] + 1]
            kinds = last - first
            repeated = np.repeat(np.arange(len(rows)), kinds)
            entry = np.arange(len(repeated)) - np.repeat(np.cumsum(kinds) - kinds - first, kinds)
            seen = np.zeros((len(rows), self.vocabulary))
            seen[repeated, level.tokens[entry]] = level.counts[entry]
            total = seen.sum(axis=1) + kinds
            probability[rows] = (seen + kinds[:, None] * probability[rows]) / total[:, None]
        return {"log_probability": np.log(probability).reshape(n, l, self.vocabulary)}


def _texts(train: Examples) -> tuple[np.ndarray, np.ndarray]:
    """Return the tokens of all texts one after the other, and how many each has before it in its own, [tokens] both."""
    inside = np.arange(train["targets"].shape[1]) < train["lengths"][:, None]
    if "documents" in train:
        begins = (np.diff(train["documents"].astype(np.int64), axis=1, prepend=0) != 0)[inside]
    else:
        begins = np.arange(inside.sum()) == 0  # windows lie end to end
    # A step where a text begins stands for its token and the next one, any other for the next one alone.
    place = np.cumsum(1 + begins)
    text = np.zeros(place[-1], np.int64)
    text[place - 1] = train["targets"][inside]
    firsts = place[begins] - 2
    text[firsts] = train["tokens"][inside][begins]
    begin = np.zeros(len(text), np.int64)
    begin[firsts] = firsts
    return text, np.arange(len(text)) - np.maximum.accumulate(begin)


def _level(keys: np.ndarray, node: np.ndarray, following: np.ndarray, vocabulary: int) -> Level:
    """Return what follows each of the contexts `keys`, from the number of the context before each token."""
    pairs, counts = np.unique(node * vocabulary + following, return_counts=True)
    starts = np.searchsorted(pairs, np.arange(len(keys) + 1) * vocabulary)
    return Level(keys, starts, pairs % vocabulary, counts)


def _number(keys: np.ndarray, wanted: np.ndarray, there: np.ndarray) -> np.ndarray:
    """Return where `wanted` is among ascending keys, -1 where it is not, or not `there`."""
    place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(there & (keys[place] == wanted), place, -1)
