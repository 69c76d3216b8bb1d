"""From prompts to texts."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from research.data.text.tokenizers import Tokenizer
from research.errors import UsageError
from research.generation.options import Options
from research.generation.spelling import Spelling
from research.generation.writing import best, first_token, write
from research.models.model import as_model
from research.tokens import END


class Piece(NamedTuple):
    """A part of a text, at its end."""

    row: int
    """Which prompt it continues."""
    text: str


def generate(
    model: nn.Module,
    params: Any,
    tokenizer: Any,
    prompts: Sequence[str],
    options: Options = Options(),
    key: jax.Array | None = None,
) -> list[str]:
    """Return what the model writes after each prompt, or from it, where it is an encoder-decoder.

    What comes of a prompt depends on no other one: with the key of its row it is, up to rounding, what it would be
    alone.

    Args:
        model: a language model or encoder-decoder, such as `from_pretrained` or `restore` gives.
        params: its parameters.
        tokenizer: one of the project's or of the package tokenizers; of an encoder-decoder maybe two, a tuple of that
            of the source and that of the target.
        prompts: one or more texts.
        options: how texts are written, and where they end.
        key: one, which each row makes its own by its number, or one for each row [b]; default: `jax.random.key(0)`.

    Raises:
        UsageError: the model cannot write, there is no prompt, one has no tokens or some that the model does not know,
            or with beams they are more than the model sees at once.
    """
    texts = [""] * len(prompts)
    for row, text in stream(model, params, tokenizer, prompts, options, key):
        texts[row] += text
    return texts


def stream(
    model: nn.Module,
    params: Any,
    tokenizer: Any,
    prompts: Sequence[str],
    options: Options = Options(),
    key: jax.Array | None = None,
) -> Iterator[Piece]:
    """Return an iterator over pieces of the texts that `generate` returns, each given as soon as it is decided.

    What may yet become another character, as bytes of an unfinished one, or a text to stop at, is held back. Arguments
    and errors are those of `generate`; the errors come at once.
    """
    source, target = tokenizer if isinstance(tokenizer, tuple) else (tokenizer, tokenizer)
    continues = first_token(model, options) is None
    rows = [_ids(source, prompt, model) for prompt in prompts]
    if not rows:
        raise UsageError("there is no prompt: give at least one")
    ends = options.stop_tokens
    if ends is None:
        ends = (END,) if isinstance(target, Tokenizer) and target.special else ()
    spellings = [Spelling(target.decode, row if continues else (), options.stop, ends) for row in rows]
    if options.beams > 1:
        found = best(model, params, rows, options, ends)
        return _whole(spellings, found)
    key = jax.random.key(0) if key is None else key
    keys = key if key.ndim else jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(len(rows)))
    return _pieces(spellings, write(model, params, rows, options, keys), options.tokens)


def _ids(tokenizer: Any, prompt: str, model: nn.Module) -> list[int]:
    """Return the token ids of a prompt; the package tokenizers gives them with what else it found."""
    found = tokenizer.encode(prompt)
    ids = list(getattr(found, "ids", found))
    if not ids:
        raise UsageError(f"the prompt {prompt!r} has no tokens: begin with at least one character that is known")
    known = as_model(model).vocabularies().get("tokens")
    if known is not None and max(ids) >= known:
        raise UsageError(f"the tokenizer gives id {max(ids)}, the model knows {known}: it is of another model")
    return ids


def _pieces(spellings: Sequence[Spelling], written: Any, tokens: int) -> Iterator[Piece]:
    """Yield what each token decides, until all texts have ended."""
    for index, row_tokens in enumerate(written, start=1):
        for row, (spelling, token) in enumerate(zip(spellings, row_tokens.tolist(), strict=True)):
            if not spelling.ended and (text := spelling.add(token, last=index == tokens)):
                yield Piece(row, text)
        if all(spelling.ended for spelling in spellings):
            return


def _whole(spellings: Sequence[Spelling], texts: Sequence[Sequence[int]]) -> Iterator[Piece]:
    """Yield texts that are there already."""
    for row, (spelling, tokens) in enumerate(zip(spellings, texts, strict=True)):
        text = ""
        for index, token in enumerate(tokens, start=1):
            if not spelling.ended:
                text += spelling.add(token, last=index == len(tokens))
        yield Piece(row, text)
