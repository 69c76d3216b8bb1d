"""transformers' names of BERT."""

import re

from research.models.naming import Array, Entry, Names
from research.models.text.bert import Bert, BertClassifier, BertFields, BertPretraining, SentenceBert

POSITIONS = re.compile(r"\bembeddings\.position_ids$")  # a buffer of older files
HEADLESS = (Bert, SentenceBert)  # whose files have no prefix
TENSORFLOW = {"gamma": "weight", "beta": "bias"}  # what norms of the authors' files have


def names(model: BertFields) -> Names:
    """Return the name of every module; one without a head has no prefix."""
    ours = "" if isinstance(model, Bert) else "bert."
    theirs = "" if isinstance(model, HEADLESS) else "bert."
    tables = f"{theirs}embeddings"
    found: dict[str, Entry] = {
        f"{ours}embedding.tokens.embedding": Array(f"{tables}.word_embeddings.weight", (-1, model.width)),
        f"{ours}embedding.learned.table": Array(f"{tables}.position_embeddings.weight", (-1, model.width)),
        f"{ours}segment_embedding.embedding": Array(f"{tables}.token_type_embeddings.weight", (-1, model.width)),
        f"{ours}embedding_norm": f"{tables}.LayerNorm",
        f"{ours}pooler": f"{theirs}pooler.dense",
    }
    for layer in range(model.layers):
        found |= _block(f"{ours}encoder.layer_{layer}", f"{theirs}encoder.layer.{layer}")
    match model:
        case BertPretraining():
            found |= {
                "transform": "cls.predictions.transform.dense",
                "transform_norm": "cls.predictions.transform.LayerNorm",
                "masked_bias": Array("cls.predictions.bias", (-1,)),
                "next": "cls.seq_relationship",
            }
        case BertClassifier():
            found["logits"] = "classifier"
    return found


def _block(ours: str, theirs: str) -> dict[str, Entry]:
    """Return the names of a block."""
    return {
        **{f"{ours}.attention.{part}": f"{theirs}.attention.self.{part}" for part in ("query", "key", "value")},
        f"{ours}.attention.output": f"{theirs}.attention.output.dense",
        f"{ours}.attention_norm": f"{theirs}.attention.output.LayerNorm",
        f"{ours}.feed_forward.hidden": f"{theirs}.intermediate.dense",
        f"{ours}.feed_forward.output": f"{theirs}.output.dense",
        f"{ours}.feed_forward_norm": f"{theirs}.output.LayerNorm",
    }


def current(model: BertFields, name: str) -> str | None:
    """Return a tensor's name as files have it now, None for a buffer; of the body with the prefix, or without."""
    if POSITIONS.search(name):
        return None
    module, _, leaf = name.rpartition(".")
    if module.endswith("LayerNorm"):
        name = f"{module}.{TENSORFLOW.get(leaf, leaf)}"
    body = name.removeprefix("bert.")
    if not body.startswith(("embeddings.", "encoder.", "pooler.")):
        return name
    return body if isinstance(model, HEADLESS) else f"bert.{body}"


def copies(model: BertFields) -> dict[str, str]:
    """Return tensors that a file may hold though they are others once more."""
    if not isinstance(model, BertPretraining):
        return {}
    return {
        "cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight",
        "cls.predictions.decoder.bias": "cls.predictions.bias",
    }
