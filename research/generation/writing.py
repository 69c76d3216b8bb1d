"""Token ids after token ids."""

from collections.abc import Iterator, Sequence
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from research.errors import UsageError
from research.generation.options import TEMPERATURE, Options
from research.generation.programs import Setting, advance, begin, bucket, padded, renew, search
from research.models.model import BoundedWriter, Writer, as_model

Prompts = Sequence[Sequence[int]]


def write(model: nn.Module, params: Any, prompts: Prompts, options: Options, keys: jax.Array) -> Iterator[np.ndarray]:
    """Yield the next token of each row, int32 [b], up to `options.tokens` times; where a row ends, the caller knows.

    What a row writes depends on its own prompt and its key [b] alone. A Transformer that has read as many tokens as it
    sees at once begins anew with the last half of them.
    """
    start = first_token(model, options)
    limit = seen_at_once(model, options)
    window = limit if start is None else None  # what an encoder-decoder writes is seen whole
    texts = [_end(prompt, window) for prompt in prompts]
    longest = max(map(len, texts))
    room = options.tokens if start is not None else longest + options.tokens - 1
    capacity = bucket(room if window is None else min(room, window), limit)
    setting = Setting(model, capacity, start, options.top_k)
    numbers = _numbers(options, start)
    tokens, read = padded(texts, bucket(longest, limit))
    state = begin(setting, params, tokens, read, keys, numbers)
    for index in range(1, options.tokens + 1):
        token = np.asarray(state.token)
        yield token
        if index == options.tokens:
            return
        for text, written in zip(texts, token.tolist(), strict=True):
            text.append(written)
        full = read == window
        state = advance(setting, params, state, keys, index, numbers)
        read = read + 1
        if window is not None and full.any():
            half = (window + 1) // 2
            tokens, lengths = padded([text[-half:] for text in texts], bucket(half, limit))
            state = renew(setting, params, state, full, tokens, lengths, keys, index, numbers)
            read = np.where(full, lengths, read)


def best(model: nn.Module, params: Any, prompts: Prompts, options: Options, ends: tuple[int, ...]) -> list[list[int]]:
    """Return the best text of each row that beam search finds, with its end token where it has one.

    Raises:
        UsageError: prompt and text are more than the model sees at once.
    """
    start, limit = first_token(model, options), seen_at_once(model, options)
    longest = max(map(len, prompts))
    room = options.tokens if start is not None else longest + options.tokens - 1
    if start is None and limit is not None and room > limit:
        raise UsageError(
            f"with beams, prompt and text have to be in view at once, which are {room} tokens of at most {limit}: ask "
            "for fewer tokens, or set beams to 1"
        )
    setting = Setting(model, bucket(room, limit), start)
    tokens, lengths = padded(prompts, bucket(longest, limit))
    ends = ends or (-1,)  # no token
    found = search(setting, ends, options.tokens, options.beams, params, tokens, lengths, options.length_penalty)
    best, counts = np.asarray(found.tokens[:, 0]), np.asarray(found.lengths[:, 0])
    return [row[:count].tolist() for row, count in zip(best, counts, strict=True)]


def first_token(model: nn.Module, options: Options) -> int | None:
    """Return with which token an encoder-decoder begins to write; None for a language model, which continues.

    Raises:
        UsageError: the model cannot write.
    """
    if not isinstance(model, Writer):
        raise UsageError(f"{type(model).__name__} cannot write: it has no start and step; choose a language model")
    return options.start_token if "targets" in as_model(model).reads else None


def seen_at_once(model: nn.Module, options: Options) -> int | None:
    """Return how many tokens a model sees at once; None for any number."""
    if not isinstance(model, BoundedWriter):
        return None
    return model.max_length if options.window is None else min(options.window, model.max_length)


def _end(prompt: Sequence[int], window: int | None) -> list[int]:
    """Return a prompt, or of one that is not seen whole the last half of what is."""
    return list(prompt if window is None or len(prompt) <= window else prompt[-((window + 1) // 2) :])


def _numbers(options: Options, start: int | None) -> dict[str, float]:
    """Return the numbers that change the logits, without those that are off."""
    temperature = (TEMPERATURE if start is None else 0.0) if options.temperature is None else options.temperature
    drawing = {"temperature": temperature or None, "top_p": options.top_p, "min_p": options.min_p}
    given = {"repetition_penalty": options.repetition_penalty, **(drawing if temperature else {})}
    return {name: number for name, number in given.items() if number is not None}
