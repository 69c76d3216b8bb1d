"""torchvision's names of ConvNeXt."""

from research.models.images.block_names import torchvision_unit, unit
from research.models.images.patches.convnext import ConvNeXt
from research.models.naming import Array, Entry, Names, Pointwise


def names(model: ConvNeXt) -> Names:
    """Return the name of every module; torchvision's features are, in turn, halvings (first the stem) and stages."""
    found: dict[str, Entry] = {
        **torchvision_unit("stem", "features.0"),
        "norm": "classifier.0",
        "logits": "classifier.2",
    }
    for stage, (blocks, channels) in enumerate(zip(model.blocks, model.channels, strict=True)):
        found[f"stage_{stage}.halving_norm"] = f"features.{2 * stage}.0"
        found[f"stage_{stage}.halving.convolution"] = f"features.{2 * stage}.1"
        for block in range(blocks):
            ours, theirs = f"stage_{stage}.block_{block}", f"features.{2 * stage + 1}.{block}"
            found |= unit(f"{ours}.spatial", f"{theirs}.block.0", f"{theirs}.block.2")
            found[f"{ours}.expand.convolution"] = Pointwise(f"{theirs}.block.3")
            found[f"{ours}.project.convolution"] = Pointwise(f"{theirs}.block.5")
            found[f"{ours}.layer_scale"] = Array(f"{theirs}.layer_scale", (channels, 1, 1))
    return found
