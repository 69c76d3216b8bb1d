"""timm's names of MLP-Mixer."""

from research.models.images.patches.mixer import Mixer
from research.models.naming import Names


def names(model: Mixer) -> Names:
    """Return the name of every module."""
    found = {"embedding.projection": "stem.proj", "norm": "norm", "logits": "head"}
    for layer in range(model.layers):
        ours, theirs = f"layer_{layer}", f"blocks.{layer}"
        found |= {
            f"{ours}.token_norm": f"{theirs}.norm1",
            f"{ours}.token.hidden": f"{theirs}.mlp_tokens.fc1",
            f"{ours}.token.output": f"{theirs}.mlp_tokens.fc2",
            f"{ours}.feed_forward_norm": f"{theirs}.norm2",
            f"{ours}.feed_forward.hidden": f"{theirs}.mlp_channels.fc1",
            f"{ours}.feed_forward.output": f"{theirs}.mlp_channels.fc2",
        }
    return found
