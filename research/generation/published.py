"""What a published language model says of writing: where texts begin and end."""

from pathlib import Path
from typing import Any

from research.errors import UsageError
from research.interchange import locate, read_generation


def special_tokens(source: str | Path, revision: str | None = None) -> dict[str, Any]:
    """Return the `stop_tokens` and the `start_token` of `Options` that what `locate` finds says.

    generation_config.json wins over config.json. Where neither names a token to end with, none does; a decoder that has
    no token to start with starts with padding, or else with id 0.

    Raises:
        UsageError: a file is damaged, or what should be ids are none.
    """
    said = read_generation(locate(source, revision).path)
    ends, start = said.get("eos_token_id"), said.get("decoder_start_token_id")
    start = said.get("pad_token_id") or 0 if start is None else start
    ends = [] if ends is None else ends if isinstance(ends, list) else [ends]
    if not all(isinstance(token, int) and 0 <= token < 2**31 for token in (*ends, start)):
        raise UsageError(f"{source} names {ends} and {start} as tokens to end and to start with: they should be ids")
    return {"stop_tokens": tuple(ends), "start_token": start}
