"""The families of published language models: what their folders say, and which models of ours that is."""

import dataclasses
from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np

from research.errors import UsageError, suggestion
from research.fields import annotations
from research.models.model import Model
from research.models.naming import Names, other_name
from research.models.text.bert import Bert, BertClassifier, BertPretraining, SentenceBert
from research.models.text.published import (
    bert_config,
    bert_names,
    gpt2_config,
    gpt2_names,
    llama_config,
    llama_names,
    t5_config,
    t5_names,
)
from research.models.text.published.configuration import Configuration
from research.models.text.transformer import TransformerLanguageModel
from research.models.text.transformer_seq2seq import TransformerSeq2Seq

ONLY_IN_TRAINING = {
    *("dropout", "attention_dropout", "feed_forward_dropout", "final_dropout", "stochastic_depth"),
    *("initialization", "remat", "scan", "attention_implementation", "dtype"),
}
"""Fields of a model that do not say what it computes of given parameters, or in another precision alone."""


@dataclasses.dataclass(frozen=True)
class Family:
    """What is known of a family's folders; functions of a model take one of `models`."""

    models: tuple[type[Model], ...]
    read: Callable[[Configuration, Collection[str]], Model]
    """The model of a config.json, and of the names of the tensors beside it."""
    describe: Callable[[Any], dict[str, Any]]
    """The config.json of a model."""
    names: Callable[[Any], Names]
    current: Callable[[Any, str], str | None]
    """The name that a file written now has for a tensor; None for what no model has parameters for."""
    copies: Callable[[Any], Mapping[str, str]]
    """Tensors that files may have though they are others, by the name of the other."""


FAMILIES = {
    "bert": Family(
        (Bert, BertPretraining, BertClassifier, SentenceBert),
        bert_config.read,
        bert_config.describe,
        bert_names.names,
        bert_names.current,
        bert_names.copies,
    ),
    "gpt2": Family(
        (TransformerLanguageModel,),
        gpt2_config.read,
        gpt2_config.describe,
        gpt2_names.names,
        gpt2_names.current,
        gpt2_names.copies,
    ),
    "llama": Family(
        (TransformerLanguageModel,),
        llama_config.read,
        llama_config.describe,
        llama_names.names,
        llama_names.current,
        llama_names.copies,
    ),
    "t5": Family(
        (TransformerSeq2Seq,),
        t5_config.read,
        t5_config.describe,
        t5_names.names,
        t5_names.current,
        t5_names.copies,
    ),
}
"""By what config.json says as `model_type`."""
MODELS = tuple({model: None for family in FAMILIES.values() for model in family.models})
"""Classes of models that may be of a family."""


def family_of(kind: Any) -> Family:
    """Return the family of a `model_type`, or raise `UsageError` naming those there are."""
    if not isinstance(kind, str) or kind not in FAMILIES:
        raise UsageError(f'config.json is of model_type "{kind}"{suggestion(str(kind), FAMILIES)}')
    return FAMILIES[kind]


def kind_of(model: Model) -> str:
    """Return the `model_type` of a model: of the family that makes the same model of what it says of this one.

    Raises:
        UsageError: there is none; names the fields in which the closest one differs.
    """
    differing = {
        kind: _differing(model, family) for kind, family in FAMILIES.items() if isinstance(model, family.models)
    }
    if not differing:
        raise UsageError(f"no published family has models like {type(model).__name__}")
    closest = min(differing, key=lambda kind: len(differing[kind]))
    if differing[closest]:
        fields = " and ".join(f"model.{name}={getattr(model, name)!r}" for name in differing[closest])
        raise UsageError(f"no published family has such a model: {closest} does not have {fields}")
    return closest


def as_named_now(tensors: Mapping[str, np.ndarray], model: Model, family: Family) -> dict[str, np.ndarray]:
    """Return the tensors of a file under the names that files of the family have now, without buffers and copies.

    Raises:
        UsageError: two tensors have one name now, or differ though one should be the other once more.
    """
    named: dict[str, np.ndarray] = {}
    for name, tensor in tensors.items():
        if (current := family.current(model, name)) is None:
            continue
        if current in named:
            raise UsageError(f'two tensors are "{current}", one of them by the name "{name}"')
        named[current] = tensor
    for copy, original in family.copies(model).items():
        if copy in named and original in named and not np.array_equal(named.pop(copy), named[original]):
            raise UsageError(f'tensor "{copy}" should be "{original}" once more, but is another')
    return named


def _differing(model: Model, family: Family) -> list[str]:
    """Return the fields in which a model is none that the family's config.json can say."""
    tensors = {other_name(entry) for entry in family.names(model).values()}
    again = meaning(family.read(Configuration(family.describe(model)), tensors))
    return [name for name, field in meaning(model).items() if again.get(name) != field]


def meaning(model: Any) -> dict[str, Any]:
    """Return the fields that say what a Transformer computes of given parameters, with defaults written out."""
    fields = {name: getattr(model, name) for name in annotations(model.__class__) if name not in ONLY_IN_TRAINING}
    implied = {
        "key_value_heads": model.heads,
        "head_width": model.width // model.heads,
        "feed_forward_width": 4 * model.width,
    }
    return {name: implied[name] if field is None and name in implied else field for name, field in fields.items()}
