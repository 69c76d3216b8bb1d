"""Where a published model lies, and what is said of it there beside its tensors: a folder, or a GGUF file."""

import json
from pathlib import Path
from typing import Any

from research.errors import UsageError
from research.interchange.gguf.file import GGUF, read_header
from research.interchange.gguf.tokenizer import tokenizer_of, words_of
from research.interchange.tokenizer_files import read_tokenizer_file
from research.models.text.published import llama_gguf

CONFIGURATION, GENERATION = "config.json", "generation_config.json"
TOKENIZER, TOKENIZER_CONFIGURATION, TEMPLATE = "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"


def locate(source: str | Path) -> Path:
    """Return the folder or the GGUF file of a model; a folder that has but one such file stands for it.

    Raises:
        UsageError: there is none, or several files to choose from.
    """
    path = Path(source)
    if path.suffix == GGUF and path.is_file():
        return path
    if not path.is_dir():
        raise UsageError(f"there is no {'file' if path.suffix == GGUF else 'folder'} {path}")
    files = sorted(path.glob(f"*{GGUF}"))
    if (path / CONFIGURATION).exists() or not files:
        return path
    if len(files) > 1:
        raise UsageError(f"{path} has several models: name one of {', '.join(file.name for file in files)}")
    return files[0]


def read_configuration(path: Path) -> dict[str, Any]:
    """Return the entries of config.json, or what a GGUF file says in their place.

    Raises:
        UsageError: a file is damaged, or of an architecture that is not known.
    """
    if path.suffix != GGUF:
        return read_json(path / CONFIGURATION)
    header = read_header(path)
    try:
        return llama_gguf.entries(header.entries, header.places)
    except UsageError as error:
        raise UsageError(f"cannot read {path}: {error}") from error


def read_generation(path: Path) -> dict[str, Any]:
    """Return the entries of config.json with those of generation_config.json, which win. Raises `UsageError`."""
    said = read_configuration(path)
    if (path / GENERATION).exists():
        said |= {name: entry for name, entry in read_json(path / GENERATION).items() if entry is not None}
    return said


def read_tokenizer_configuration(path: Path) -> dict[str, Any]:
    """Return the entries of tokenizer_config.json, none where it is not there; a chat template of its own file wins.

    Raises:
        UsageError: a file is damaged.
    """
    if path.suffix == GGUF:
        return words_of(read_header(path).entries)
    said = read_json(path / TOKENIZER_CONFIGURATION) if (path / TOKENIZER_CONFIGURATION).exists() else {}
    if (file := path / TEMPLATE).exists():
        try:
            said["chat_template"] = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"cannot read {file}: {error}") from error
    return said


def read_tokenizer(path: Path) -> Any:
    """Return the tokenizer, None where there is none; it neither pads nor cuts.

    Raises:
        UsageError: the package is not installed, or it is damaged or of a kind that is not known.
    """
    if path.suffix != GGUF:
        return read_tokenizer_file(path / TOKENIZER)
    entries = read_header(path).entries
    if "tokenizer.ggml.model" not in entries:
        return None
    try:
        return tokenizer_of(entries)
    except UsageError as error:
        raise UsageError(f"cannot read {path}: {error}") from error


def read_json(path: Path) -> dict[str, Any]:
    """Return the object that is in a file. Raises `UsageError` where it cannot be read or holds something else."""
    try:
        found = json.loads(path.read_text())
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"cannot read {path}: it is no JSON ({error})") from error
    if not isinstance(found, dict):
        raise UsageError(f"cannot read {path}: it is no JSON object")
    return found
