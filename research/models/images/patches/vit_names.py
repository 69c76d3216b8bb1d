"""timm's names of vision Transformers."""

from research.errors import UsageError
from research.models.images.patches.vit import ViT
from research.models.naming import Array, Entry, Names, Part


def names(model: ViT) -> Names:
    """Return the name of every module; timm keeps queries, keys and values in one.

    A model with `pooling="mean"` is timm's with `global_pool="avg", class_token=False, fc_norm=False`.

    Raises:
        UsageError: timm has no such model under the same names.
    """
    for differs, field in (
        (model.norm_placement == "post", "norm_placement"),
        (model.key_value_heads not in (None, model.heads), "key_value_heads"),
        (model.scan, "scan"),
    ):
        if differs:
            raise UsageError(f"timm has no vision Transformer with model.{field}={getattr(model, field)!r}")
    found: dict[str, Entry] = {
        "embedding.projection": "patch_embed.proj",
        "class": Array("cls_token", (1, 1, model.width)),
        "positions": Array("pos_embed", (1, -1, model.width)),
        "encoder.norm": "norm",
        "logits": "head",
    }
    for layer in range(model.layers):
        ours, theirs = f"encoder.layer_{layer}", f"blocks.{layer}"
        found |= {
            f"{ours}.attention.{part}": Part(f"{theirs}.attn.qkv", index, 3)
            for index, part in enumerate(("query", "key", "value"))
        }
        found |= {
            f"{ours}.attention_norm": f"{theirs}.norm1",
            f"{ours}.attention.output": f"{theirs}.attn.proj",
            f"{ours}.feed_forward_norm": f"{theirs}.norm2",
            f"{ours}.feed_forward.hidden": f"{theirs}.mlp.fc1",
            f"{ours}.feed_forward.output": f"{theirs}.mlp.fc2",
        }
    return found
