"""torchvision's names of ResNet, and timm's of SE-ResNet."""

from research.errors import UsageError
from research.models.images.residual.resnet import ResNet
from research.models.naming import Entry, Names, Pointwise


def names(model: ResNet) -> Names:
    """Return the name of every module.

    Raises:
        UsageError: the blocks normalize before they convolve, for which neither library has a model.
    """
    if model.preactivation:
        raise UsageError("neither torchvision nor timm has a ResNet like the one with model.preactivation")
    found: dict[str, Entry] = {"stem.convolution": "conv1", "stem.norm": "bn1", "logits": "fc"}
    for stage, blocks in enumerate(model.blocks):
        for block in range(blocks):
            ours, theirs = f"stage_{stage}.block_{block}", f"layer{stage + 1}.{block}"
            for index in range(2 if model.block == "basic" else 3):
                found[f"{ours}.unit_{index}.convolution"] = f"{theirs}.conv{index + 1}"
                found[f"{ours}.unit_{index}.norm"] = f"{theirs}.bn{index + 1}"
            found |= {
                f"{ours}.projection.convolution": f"{theirs}.downsample.0",
                f"{ours}.projection.norm": f"{theirs}.downsample.1",
                f"{ours}.squeeze_excitation.squeeze": Pointwise(f"{theirs}.se.fc1"),
                f"{ours}.squeeze_excitation.excite": Pointwise(f"{theirs}.se.fc2"),
            }
    return found
