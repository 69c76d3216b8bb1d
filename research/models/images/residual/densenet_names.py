"""torchvision's names of DenseNet."""

from research.models.images.residual.densenet import DenseNet
from research.models.naming import Names


def names(model: DenseNet) -> Names:
    """Return the name of every module."""
    found = {
        "stem.convolution": "features.conv0",
        "stem.norm": "features.norm0",
        "norm": f"features.norm{len(model.blocks) + 1}",
        "logits": "classifier",
    }
    for stage, layers in enumerate(model.blocks):
        found[f"transition_{stage}.norm_0"] = f"features.transition{stage + 1}.norm"
        found[f"transition_{stage}.unit_0.convolution"] = f"features.transition{stage + 1}.conv"
        for layer in range(layers):
            ours, theirs = f"stage_{stage}.layer_{layer}", f"features.denseblock{stage + 1}.denselayer{layer + 1}"
            for index in range(2):
                found[f"{ours}.norm_{index}"] = f"{theirs}.norm{index + 1}"
                found[f"{ours}.unit_{index}.convolution"] = f"{theirs}.conv{index + 1}"
    return found
