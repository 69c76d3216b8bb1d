"""A published model's tokenizer.json."""

from pathlib import Path
from typing import Any

from research.errors import UsageError
from research.models.model import Model


def read_tokenizer_file(file: Path) -> Any:
    """Return the tokenizer of a file, None where there is none; it neither pads nor cuts, whatever the file says.

    Many files have texts padded to one length, which would cost as much for a short text as for the longest.

    Raises:
        UsageError: the package is not installed, or the file is damaged.
    """
    if not file.exists():
        return None
    try:
        import tokenizers
    except ImportError:
        raise UsageError(f'{file} needs a package: pip install "ceteris-research[text]"') from None
    try:
        tokenizer = tokenizers.Tokenizer.from_file(str(file))
    except Exception as error:  # the package raises no other
        raise UsageError(f"cannot read {file}: it is no tokenizer ({error})") from error
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def check_ids(tokenizer: Any, model: Model, what: str) -> None:
    """Raise `UsageError` where a tokenizer has ids that a model does not know."""
    greatest = max(tokenizer.get_vocab(with_added_tokens=True).values(), default=0)
    known = model.vocabularies()["tokens"]
    if greatest >= known:
        raise UsageError(f"{what} has ids up to {greatest}, the model knows {known}: it is of another model")
