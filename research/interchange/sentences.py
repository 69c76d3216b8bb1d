"""How a model's outputs become vectors of sentences, as the library sentence-transformers says it beside them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from research.errors import UsageError
from research.interchange.sources import read_json

MODULES = "modules.json"
LIBRARY = "sentence_transformers.models"
POOLING = {"pooling_mode_cls_token": "class", "pooling_mode_mean_tokens": "mean", "pooling_mode_max_tokens": "max"}
"""What the library calls ways of pooling, and what models here do."""
UNREAD = {"sentence_bert_config.json": "do_lower_case", "config_sentence_transformers.json": "default_prompt_name"}
"""Entries of files that change texts before the tokenizer has them. How long one may be is no matter: none is cut."""


def read_sentences(folder: Path) -> dict[str, Any]:
    """Return `pooling` and `normalize` of the model of a folder, nothing where it embeds no sentences.

    Raises:
        UsageError: a file is damaged, or asks for what is not done here.
    """
    if not (file := folder / MODULES).exists():
        return {}
    try:
        modules = [(item["type"].rpartition(".")[2], item["path"]) for item in read_json(file, list)]
        kinds, places = zip(*modules, strict=True)
    except (TypeError, KeyError, AttributeError, ValueError) as error:
        raise UsageError(f"{file} should name modules, each with its type and path") from error
    if kinds not in (("Transformer", "Pooling"), ("Transformer", "Pooling", "Normalize")):
        raise UsageError(f"{file} asks for {', '.join(kinds)}, where Transformer, Pooling and maybe Normalize are read")
    if places[0] != "" or not isinstance(places[1], str) or Path(places[1]).name != places[1]:
        raise UsageError(f"{file} asks for folders {places[0]!r} and {places[1]!r}, where '' and one in it are read")
    for name, entry in UNREAD.items():
        if (folder / name).exists() and (said := read_json(folder / name).get(entry)):
            raise UsageError(f"{folder / name} asks for {entry}={said!r}, which is not done here: take it out")
    return {"pooling": _pooling(folder / places[1] / "config.json"), "normalize": len(kinds) == 3}


def write_sentences(folder: Path, said: Mapping[str, Any], width: int) -> None:
    """Write into the folder of a model of a width what `read_sentences` returns of it."""
    places = {"Transformer": "", "Pooling": "1_Pooling"} | ({"Normalize": "2_Normalize"} if said["normalize"] else {})
    modules = [
        {"idx": index, "name": str(index), "path": place, "type": f"{LIBRARY}.{kind}"}
        for index, (kind, place) in enumerate(places.items())
    ]
    modes = {name: kind == said["pooling"] for name, kind in POOLING.items()}
    (folder / places["Pooling"]).mkdir()
    for file, entries in (
        (folder / MODULES, modules),
        (folder / places["Pooling"] / "config.json", {"word_embedding_dimension": width, **modes}),
    ):
        file.write_text(json.dumps(entries, indent=2) + "\n")


def _pooling(file: Path) -> str:
    """Return how a file says to pool."""
    asked = [name for name, entry in read_json(file).items() if name.startswith("pooling_mode") and entry]
    if len(asked) != 1 or asked[0] not in POOLING:
        raise UsageError(f"{file} asks for {' and '.join(asked) or 'nothing'}: one of {', '.join(POOLING)} is read")
    return POOLING[asked[0]]
