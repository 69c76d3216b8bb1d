"""Where a published model lies, and what is said of it there beside its tensors: a folder, or a GGUF file."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from research.errors import UsageError
from research.interchange import hub
from research.interchange.files import SUFFIXES
from research.interchange.gguf.file import GGUF, read_header
from research.interchange.gguf.tokenizer import tokenizer_of, words_of
from research.interchange.tokenizer_files import read_tokenizer_file
from research.models.text.published import llama_gguf

CONFIGURATION, GENERATION = "config.json", "generation_config.json"
TOKENIZER, TOKENIZER_CONFIGURATION, TEMPLATE = "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"
IDS = tuple(f"{name}_token_id" for name in ("bos", "eos", "pad", "sep", "cls", "decoder_start"))
WORDS = tuple(f"{name}_token" for name in ("bos", "eos", "pad", "sep", "cls", "unk", "mask"))


class Place(NamedTuple):
    """Where a model was found."""

    path: Path
    """Its folder, or its file."""
    revision: str | None
    """The commit, of a model that was found by its name on the Hugging Face Hub."""


def locate(source: str | Path, revision: str | None = None) -> Place:
    """Return where a model is: a file, a folder, or else a text such as "org/name", as on the Hugging Face Hub.

    A folder with but one GGUF file and no config.json stands for that file. Whether a file is there its reader says.

    Args:
        source: what to look for.
        revision: branch, tag or commit of a model that is looked for by its name.

    Raises:
        UsageError: there is none, it cannot be fetched, or there are several files to choose from.
    """
    path = Path(source)
    if path.is_dir():
        return Place(_one_file(path), None)
    if path.is_file() or path.suffix in SUFFIXES:
        return Place(path, None)
    if isinstance(source, str) and hub.NAME.fullmatch(source):
        path = hub.fetched(source, revision)
        return Place(path, path.name)
    raise UsageError(f"there is no folder {path}")


def _one_file(path: Path) -> Path:
    """Return a folder, or the GGUF file that it stands for. Raises `UsageError` where there are several of them."""
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


@dataclasses.dataclass(frozen=True)
class Beside:
    """What is said of a published model and is no part of it here."""

    configuration: Mapping[str, Any]
    """Entries of config.json."""
    words: Mapping[str, str]
    """Those of tokenizer_config.json that are special tokens, and the chat template."""
    generation: Mapping[str, Any]
    """Those of generation_config.json."""

    def entries(self, described: Mapping[str, Any]) -> dict[str, Any]:
        """Return what a config.json says of special tokens, and of classes where those described are as many."""
        kept = {name: self.configuration[name] for name in IDS if self.configuration.get(name) is not None}
        classes = self.configuration.get("id2label") or {}
        if len(classes) == len(described.get("id2label", {})) > 0:
            kept |= {name: self.configuration[name] for name in ("id2label", "label2id") if name in self.configuration}
        return kept


def read_beside(path: Path) -> Beside:
    """Return what is said of a model beside what it computes. Raises `UsageError` where a file is damaged."""
    said = read_tokenizer_configuration(path)
    texts = {name: said.get(name) for name in (*WORDS, "chat_template")}
    texts = {name: text.get("content") if isinstance(text, Mapping) else text for name, text in texts.items()}
    words = {name: text for name, text in texts.items() if isinstance(text, str)}
    generation = read_json(path / GENERATION) if (path / GENERATION).exists() else {}
    return Beside(read_configuration(path), words, generation)


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


def read_json(path: Path, kind: type = dict) -> Any:
    """Return the object or list in a file. Raises `UsageError` where it cannot be read or holds something else."""
    try:
        found = json.loads(path.read_text())
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"cannot read {path}: it is no JSON ({error})") from error
    if not isinstance(found, kind):
        raise UsageError(f"cannot read {path}: it is no JSON {'object' if kind is dict else 'list'}")
    return found
