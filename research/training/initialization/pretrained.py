"""Starting from weights in a file."""

import logging
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from research.errors import UsageError
from research.experiment import Pretrained
from research.fields import children
from research.interchange import (
    described_otherwise,
    from_tensors,
    locate,
    published_activation,
    read_weights,
    renamed,
    tensor_names,
    tensor_shapes,
    variants,
)
from research.optimization.paths import check_path, source_of

Collections = dict[str, Any]
Tensors = Mapping[str, np.ndarray]

log = logging.getLogger(__name__)


def take_pretrained(start: Pretrained, model: nn.Module, collections: Collections, where: str) -> Collections:
    """Return all collections of `model` by name, abstract or not, with what `start` names taken from its file.

    `where` is the path of `start` in the experiment.

    Raises:
        UsageError: the file is not there, damaged, or not the one meant, or it does not fit the model: names the first
            few tensors that are missing, of another shape or, where all is taken, left over.
    """
    known = variants(model)
    check_revision(start, where)
    tensors, digest = read_weights(start.file, start.revision)
    if digest != start.sha256:
        raise UsageError(f"{start.file} is another file than {where}.sha256 says: its digest is {digest}")
    try:
        tensors = dict(renamed(tensors, model))
    except UsageError as error:
        raise UsageError(f"{start.file} does not fit: {error}") from error
    mine = flatten_dict(collections)
    for path in start.parameters or ():
        for one in {path} if isinstance(path, str) else set(path):
            check_path(one, [key[1:] for key in mine], "model")
    sources = {key: key[1:] if start.parameters is None else source_of(key[1:], start.parameters) for key in mine}
    taken = {key: (key[0], *source) for key, source in sources.items() if source}
    wanted = unflatten_dict({taken[key]: mine[key] for key in taken})
    names = next((names for names in known if tensor_names(wanted, names) <= tensors.keys()), known[0])
    if start.parameters is not None:
        tensors = {name: tensors[name] for name in tensor_names(wanted, names) & tensors.keys()}
    try:
        found = flatten_dict(from_tensors(tensors, wanted, names))
    except UsageError as error:
        remedy = _remedy(model, tensor_shapes(wanted, names), tensors, where)
        raise UsageError(f"{start.file} does not fit: {error}{remedy}") from error
    return unflatten_dict({key: found[taken[key]] if key in taken else leaf for key, leaf in mine.items()})


def check_revision(start: Pretrained, where: str) -> None:
    """Raise `UsageError` unless a model that is found by its name is said with its commit."""
    commit = locate(start.file, start.revision).revision
    if commit != start.revision and commit is not None:
        raise UsageError(f"{where}.revision must be a commit, so that a run says what it began with: {commit} now")


def _remedy(model: nn.Module, needed: Mapping[str, tuple[int, ...]], tensors: Tensors, where: str) -> str:
    """Return what to do where sizes of tensors are other than those of fields of the model; "" where none is.

    The data may ask for the size that the model has, such as that of its classes, hence what is to be taken.
    """
    sizes: dict[int, set[int]] = {}
    for name, shape in needed.items():
        given = np.shape(tensors[name]) if name in tensors else ()
        if len(given) == len(shape):
            for mine, theirs in zip(shape, given, strict=True):
                if mine != theirs:
                    sizes.setdefault(mine, set()).add(theirs)
    told = []
    for mine, (theirs, *others) in sizes.items():
        fields = [f"model.{name}" for name, value, _ in children(model) if type(value) is int and value == mine]
        if fields and not others:
            told.append(f"{' or '.join(fields)}, which is {mine}, to {theirs}")
    return f"; name in {where}.parameters what is to be taken, or set {', and '.join(told)}" if told else ""


def compare_configuration(start: Pretrained, model: nn.Module) -> None:
    """Warn where a folder's config.json says otherwise than the model what no tensor tells, such as how many heads."""
    for name, said in described_otherwise(start.file, model, start.revision).items():
        log.warning("%s is of model.%s=%s, and here it is %s", start.file, name, said, getattr(model, name))


def compare_activation(start: Pretrained, model: nn.Module) -> None:
    """Warn where the weights may have been trained with another activation than the model's, which no tensor tells."""
    published, own = published_activation(model), getattr(model, "activation", None)
    if published not in (None, own):
        log.warning(
            "published weights of %s were trained with %s, and model.activation is %s: set it to %s unless %s holds "
            "weights of your own",
            type(model).__name__,
            published,
            own,
            published,
            start.file,
        )
