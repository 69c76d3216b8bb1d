"""Folders of published language models, as the library transformers writes and reads them.

model, params, tokenizer = from_pretrained("gpt2")
logits = model.apply({"params": params}, tokens)
save_pretrained(model, params, "mine", tokenizer)

A folder has `config.json`, the tensors in `model.safetensors`, or in several files of which
`model.safetensors.index.json` says what is where, and mostly `tokenizer.json`.
"""

import hashlib
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict

from research.errors import UsageError
from research.fields import validate
from research.interchange.cards import card
from research.interchange.families import FAMILIES, MODELS, Family, as_named_now, family_of, kind_of, meaning
from research.interchange.files import ALONE, read_tensors, write_tensors
from research.interchange.sentences import MODULES, read_sentences, write_sentences
from research.interchange.sources import (
    CONFIGURATION,
    GENERATION,
    TOKENIZER,
    TOKENIZER_CONFIGURATION,
    locate,
    read_beside,
    read_configuration,
    read_json,
    read_tokenizer,
)
from research.interchange.tensors import Tensors, from_tensors, to_tensors
from research.interchange.tokenizer_files import check_ids
from research.models.model import Model, model_inputs
from research.models.naming import other_name
from research.models.text.published.bert_config import SENTENCES
from research.models.text.published.configuration import Configuration

WHOLE = ("model.safetensors", "pytorch_model.bin")
"""Files with all tensors, in the order in which they are looked for; with a suffix, what says where they are."""
INDEX = ".index.json"
SHAPES = {
    *("layers", "width", "feed_forward_width", "vocabulary", "source_vocabulary", "target_vocabulary", "max_length"),
    *("segments", "classes"),
}
"""Fields that the shapes of parameters tell, or how many there are."""


def from_pretrained(source: str | Path, revision: str | None = None) -> tuple[Any, dict[str, Any], Any]:
    """Return the model of a folder, its parameters in float32, and its tokenizer, None where there is none.

    The source is a folder as transformers writes it, or a Llama's FILE.gguf, or a folder with one such file alone, or
    where there is no such folder "org/name" of the Hugging Face Hub: what `locate` finds, which says the commit too.

    The model is a value as any other, such as `gpt2(...)`: BERT with the heads that the file has, or as sentence-
    transformers pools it, GPT-2, Llama and T5.
    The tokenizer is one of the package tokenizers: `tokenizer.encode(text).ids`; it neither pads nor cuts. Names as the
    authors' files have them are known, and buffers left out.

    Raises:
        UsageError: a file is not there, damaged or not what another says; the configuration asks for what models here
            do not have; tensors are missing, left over or of another shape; the tokenizer has ids that the model does
            not know. Names what it is about.
    """
    folder = locate(source, revision).path
    tensors, _ = read_weights(folder)
    model, family = _described(folder, tensors)
    try:
        if (layers := meaning(model)["layers"]) > len(tensors):  # a billion of them would be named one by one
            raise UsageError(f"{_saying(folder)} says {layers} layers, but there are {len(tensors)} tensors")
        params = _take(tensors, model, family)
    except UsageError as error:
        raise UsageError(f"cannot read {folder}: {error}") from error
    if (tokenizer := read_tokenizer(folder)) is not None:
        check_ids(tokenizer, model, str(folder if folder.is_file() else folder / TOKENIZER))
    return model, params, tokenizer


def save_pretrained(
    model: Any,
    params: Mapping[str, Any],
    folder: str | Path,
    tokenizer: Any = None,
    origin: Mapping[str, str] | None = None,
    like: str | Path | None = None,
) -> None:
    """Write a folder that transformers reads, with a card to be completed.

    What is of training alone, such as dropout, is written as far as config.json has words for it. The ids of special
    tokens, the names of classes, the chat template and how texts are drawn are no part of a model here: they are the
    family's, or those of `like`.

    Args:
        model: one of a family: what `from_pretrained` returns, or of `bert`, `gpt2`, `llama` or `t5`.
        params: its parameters.
        folder: a new or empty one.
        tokenizer: one of the package tokenizers.
        origin: where the parameters come from, for the header of the file.
        like: what `from_pretrained` read the model from.

    Raises:
        UsageError: no family has such a model, the parameters are not the model's, the tokenizer has ids that it does
            not know, or there is something in the folder.
    """
    kind, folder = kind_of(model), Path(folder)
    family = FAMILIES[kind]
    if folder.exists() and any(folder.iterdir()):
        raise UsageError(f"{folder} is not empty: name a new folder")
    _check_params(model, params)
    if tokenizer is not None:
        check_ids(tokenizer, model, "the tokenizer")
    tensors = to_tensors({"params": params}, family.names(model))
    dtype = np.result_type(*tensors.values()).name
    said = {"model_type": kind, "dtype": dtype, **family.describe(model)}
    beside = None if like is None else read_beside(locate(like).path)
    if beside is not None:
        said |= beside.entries(said)
    folder.mkdir(parents=True, exist_ok=True)
    entries = {name: entry for name, entry in said.items() if entry is not None}
    if sentences := entries.pop(SENTENCES, None):
        write_sentences(folder, sentences, model.width)
    (folder / CONFIGURATION).write_text(json.dumps(entries, indent=2) + "\n")
    (folder / "README.md").write_text(card(entries, sum(tensor.size for tensor in tensors.values())))
    if tokenizer is not None:
        tokenizer.save(str(folder / TOKENIZER))
        # Without its class the family's own tokenizer is made of the parts of the file that it knows.
        words = {"tokenizer_class": "PreTrainedTokenizerFast", **({} if beside is None else beside.words)}
        (folder / TOKENIZER_CONFIGURATION).write_text(json.dumps(words, indent=2) + "\n")
    if beside is not None and beside.generation:
        (folder / GENERATION).write_text(json.dumps(beside.generation, indent=2) + "\n")
    write_tensors(folder / "model.safetensors", tensors, origin)


def read_weights(source: str | Path, revision: str | None = None) -> tuple[Tensors, str]:
    """Return the tensors of a file, or of what `locate` finds, by name, and their SHA-256.

    That of one file is of its bytes, that of several of their digests, one after the other in the order of their names.

    Raises:
        UsageError: a file is not there or damaged, or has other tensors than the index says.
    """
    path = locate(source, revision).path
    if not path.is_dir():
        return read_tensors(path)
    for whole in WHOLE:
        if (path / whole).exists():
            return read_tensors(path / whole)
        if (path / f"{whole}{INDEX}").exists():
            return _read_shards(path / f"{whole}{INDEX}")
    raise UsageError(f"{path} has neither {WHOLE[0]} nor {WHOLE[0]}{INDEX}")


def described_otherwise(source: str | Path, model: Any, revision: str | None = None) -> dict[str, Any]:
    """Return what a folder's config.json says of fields of `model` that are otherwise there and that no shape tells.

    Of a file of tensors alone nothing is said, nor of models that no family has.
    """
    if Path(source).suffix in ALONE or not isinstance(model, MODELS):
        return {}
    tensors = {other_name(entry) for entry in FAMILIES[kind_of(model)].names(model).values()}
    said, own = meaning(_described(locate(source, revision).path, tensors)[0]), meaning(model)
    # What is None in the model follows from other fields, and differs only where they do.
    untold = [name for name in own if name in said and name not in SHAPES and getattr(model, name) is not None]
    return {name: said[name] for name in untold if said[name] != own[name]}


def _described(folder: Path, tensors: Collection[str]) -> tuple[Model, Family]:
    """Return the model that a folder's config.json says, with tensors of these names, and its family."""
    entries = read_configuration(folder)
    if sentences := read_sentences(folder):
        if (kind := entries.get("model_type")) != "bert":
            raise UsageError(f"{folder / MODULES} pools what a {kind} gives, which is read of bert alone")
        entries = {**entries, SENTENCES: sentences}
    configuration = Configuration(entries, _saying(folder))
    try:
        family = family_of(entries.get("model_type"))
        model = family.read(configuration, tensors)
        configuration.finish()
        validate(model)
    except UsageError as error:
        raise UsageError(f"cannot read {folder}: {error}") from error
    return model, family


def _saying(path: Path) -> str:
    """Return what to call the entries of a folder or a GGUF file in an error."""
    return CONFIGURATION if path.is_dir() else "the file"


def _take(tensors: Mapping[str, np.ndarray], model: Model, family: Family) -> dict[str, Any]:
    """Return the parameters of a model from the tensors of a file, whichever of its family's names that has."""
    named = as_named_now(tensors, model, family)
    params = from_tensors(named, {"params": _parameters(model)}, family.names(model))["params"]
    return jax.tree.map(jnp.asarray, params)


def _parameters(model: Model) -> Any:
    """Return the shapes of a model's parameters."""
    ids = jnp.zeros((1, 1), jnp.int32)
    inputs = model_inputs(model, {"tokens": ids, "targets": ids})
    return jax.eval_shape(model.init, jax.random.key(0), inputs)["params"]


def _check_params(model: Model, params: Mapping[str, Any]) -> None:
    """Raise `UsageError` unless the model has parameters of these names and shapes."""
    own, given = (
        {".".join(path): np.shape(leaf) for path, leaf in flatten_dict(tree).items()}
        for tree in (_parameters(model), params)
    )
    if differing := sorted(name for name in own.keys() | given.keys() if own.get(name) != given.get(name)):
        raise UsageError(f'the parameters are not those of the model: "{differing[0]}" is another, or not in both')


def _read_shards(index: Path) -> tuple[Tensors, str]:
    """Return the tensors of all files that an index names, and the digest of their digests."""
    places = read_json(index).get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(file, str) for file in places.values()):
        raise UsageError(f'{index} has no "weight_map" of names of tensors to names of files')
    tensors: Tensors = {}
    digests = ""
    for file in sorted(set(places.values())):
        if Path(file).name != file:
            raise UsageError(f'{index} names the file "{file}", which is not in its folder')
        found, digest = read_tensors(index.with_name(file))
        said = {name for name, place in places.items() if place == file}
        if differing := sorted(found.keys() ^ said):
            names = " and ".join(f'"{name}"' for name in differing)
            raise UsageError(f"{index} is wrong about {names}: {'not ' * (differing[0] in said)}in {file}")
        tensors |= found
        digests += digest
    return tensors, hashlib.sha256(digests.encode()).hexdigest()
