"""Folders of models that are named as on the Hugging Face Hub, "org/name".

They are looked for in the cache that its library keeps on this machine, and fetched only where they are not there: what
was read once is read without a network, and a branch is what it was then until its revision is said anew.
"""

import json
import re
from pathlib import Path
from typing import Any

from research.errors import UsageError

NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
WHOLE, INDEX = "model.safetensors", "model.safetensors.index.json"
FILES = (
    *(WHOLE, INDEX, "model-?????-of-?????.safetensors", "config.json", "generation_config.json"),
    *("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"),
    *("modules.json", "sentence_bert_config.json", "config_sentence_transformers.json", "1_Pooling/config.json"),
)
"""What is fetched of a model: nothing that Python would run, and its weights once."""


def fetched(name: str, revision: str | None) -> Path:
    """Return the folder of a model at a branch, tag or commit, `main` unless said; its own name is that of the commit.

    Raises:
        UsageError: the package is not installed, or the model is not here and cannot be fetched.
    """
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        extra = 'pip install "ceteris-research[hub]"'
        raise UsageError(f"there is no folder {name}, and to find a model so named takes a package: {extra}") from None
    asked: dict[str, Any] = {"repo_id": name, "revision": revision, "allow_patterns": list(FILES)}
    try:
        if complete(folder := Path(snapshot_download(**asked, local_files_only=True))):
            return folder
    except (OSError, ValueError):  # it is not here, or no such name can be
        pass
    try:
        return Path(snapshot_download(**asked))
    except Exception as error:  # the library's own, those of its connections, and those of the disk
        raise UsageError(_unreachable(name, revision, error)) from error


def complete(folder: Path) -> bool:
    """Return whether a folder has config.json and all weights; other programs may have fetched less of a model."""
    try:
        places = json.loads((folder / INDEX).read_text())["weight_map"].values()
    except (OSError, ValueError, LookupError, AttributeError):
        places = (WHOLE,)
    return all((folder / str(file)).exists() for file in ("config.json", *places))


def _unreachable(name: str, revision: str | None, error: Exception) -> str:
    """Return what to say of a model that was not fetched."""
    from huggingface_hub import errors

    at = "" if revision is None else f' at the revision "{revision}"'
    match error:
        case errors.GatedRepoError():
            return f'the Hub gives "{name}" to those alone who took its terms: take them on its page, then log in'
        case errors.RepositoryNotFoundError():
            return f"there is no folder {name}, and the Hub has no such model, or none that you may read"
        case errors.RevisionNotFoundError():
            return f'the Hub has "{name}", but not{at}'
        case errors.LocalEntryNotFoundError():
            return (
                f'there is no folder {name}, no model "{name}"{at} in the cache of this machine, and the Hub cannot be '
                "reached: fetch it once with a network, or name a folder"
            )
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return f'"{name}"{at} cannot be fetched from the Hub: {reason}'
