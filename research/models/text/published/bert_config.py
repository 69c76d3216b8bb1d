"""What the config.json of a BERT says."""

from collections.abc import Collection
from typing import Any

from research.models.text.bert import PUBLISHED, Bert, BertClassifier, BertFields, BertPretraining, SentenceBert
from research.models.text.published.configuration import Configuration

SENTENCES = "sentences"
"""The entry for how hidden states become vectors of sentences, which files have beside config.json."""


def read(configuration: Configuration, tensors: Collection[str]) -> BertFields:
    """Return the model of a configuration, with the heads that have tensors, or of sentences where it says so.

    Sizes that it does not say are those of BERT base.
    """
    configuration.expect(position_embedding_type="absolute", hidden_act="gelu", tie_word_embeddings=True)
    # What multilingual files say of a pooler is about another than the one that there is.
    configuration.ignore("directionality", "pooler_fc_size", "pooler_num_attention_heads", "pooler_num_fc_layers")
    configuration.ignore("pooler_size_per_head", "pooler_type", "num_labels", "_num_labels")
    dropout = configuration.number("hidden_dropout_prob", 0.1)
    configuration.expect(classifier_dropout=dropout)
    fields = {
        **PUBLISHED,
        "vocabulary": configuration.size("vocab_size", 30522),
        "max_length": configuration.size("max_position_embeddings", 512),
        "segments": configuration.size("type_vocab_size", 2),
        "width": configuration.size("hidden_size", 768),
        "layers": configuration.size("num_hidden_layers", 12),
        "heads": configuration.size("num_attention_heads", 12),
        "feed_forward_width": configuration.size("intermediate_size", 3072),
        "norm_epsilon": configuration.number("layer_norm_eps", 1e-12),
        "dropout": dropout,
        "attention_dropout": configuration.number("attention_probs_dropout_prob", 0.1),
    }
    if sentences := configuration.mapping(SENTENCES):
        return SentenceBert(**fields, **sentences)
    if any(name.startswith("cls.") for name in tensors):
        return BertPretraining(**fields)
    if any(name.startswith("classifier") for name in tensors):
        return BertClassifier(**fields, classes=len(configuration.mapping("id2label")) or 2)
    return Bert(**fields)


def describe(model: BertFields) -> dict[str, Any]:
    """Return the configuration of a model."""
    found: dict[str, Any] = {
        "vocab_size": model.vocabulary,
        "max_position_embeddings": model.max_length,
        "type_vocab_size": model.segments,
        "hidden_size": model.width,
        "num_hidden_layers": model.layers,
        "num_attention_heads": model.heads,
        "intermediate_size": 4 * model.width if model.feed_forward_width is None else model.feed_forward_width,
        "hidden_act": "gelu",
        "layer_norm_eps": model.norm_epsilon,
        "hidden_dropout_prob": model.dropout,
        "attention_probs_dropout_prob": model.attention_dropout,
    }
    match model:
        case BertPretraining():
            return {"architectures": ["BertForPreTraining"], **found}
        case BertClassifier(classes=classes):
            labels = {str(index): f"LABEL_{index}" for index in range(classes)}
            ids = {label: int(index) for index, label in labels.items()}
            return {
                "architectures": ["BertForSequenceClassification"],
                **found,
                "id2label": labels,
                "label2id": ids,
            }
        case SentenceBert(pooling=pooling, normalize=normalize):
            found[SENTENCES] = {"pooling": pooling, "normalize": normalize}
    return {"architectures": ["BertModel"], **found}
