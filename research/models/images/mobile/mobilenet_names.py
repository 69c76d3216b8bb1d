"""timm's names of MobileNet v1, and torchvision's of v2 and v3."""

from research.errors import UsageError
from research.models.images.block_names import torchvision_block, torchvision_unit, unit
from research.models.images.mobile.mobilenet import MobileNet
from research.models.images.mobile.mobilenet_v2 import MobileNetV2
from research.models.images.mobile.mobilenet_v3 import MobileNetV3
from research.models.naming import Entry, Names
from research.models.stages import widened


def v1_names(model: MobileNet) -> Names:
    """Return timm's name of every module.

    Raises:
        UsageError: the blocks are not those that timm has.
    """
    if not model.depthwise or model.squeeze_excitation is not None:
        raise UsageError("timm has no MobileNet v1 with depthwise=False or squeeze_excitation")
    found: dict[str, Entry] = {**unit("stem", "conv_stem", "bn1"), "logits": "classifier"}
    for stage, blocks in enumerate(model.blocks):
        for block in range(blocks):
            ours, theirs = f"stage_{stage}.block_{block}", f"blocks.{stage}.{block}"
            found |= unit(f"{ours}.spatial", f"{theirs}.conv_dw", f"{theirs}.bn1")
            found |= unit(f"{ours}.pointwise", f"{theirs}.conv_pw", f"{theirs}.bn2")
    return found


def v2_names(model: MobileNetV2) -> Names:
    """Return torchvision's name of every module.

    Raises:
        UsageError: the blocks have squeeze and excitation, which torchvision's have not.
    """
    if model.squeeze_excitation is not None:
        raise UsageError("torchvision has no MobileNet v2 with squeeze_excitation")
    found = torchvision_unit("stem", "features.0")
    index = 0
    for stage, (blocks, expansion) in enumerate(zip(model.blocks, model.expansions, strict=True)):
        for block in range(blocks):
            index += 1
            ours, theirs = f"stage_{stage}.block_{block}", f"features.{index}.conv"
            layers = ["expand"] * (expansion > 1) + ["spatial"]
            for layer, name in enumerate(layers):
                found |= torchvision_unit(f"{ours}.{name}", f"{theirs}.{layer}")
            found |= unit(f"{ours}.project", f"{theirs}.{len(layers)}", f"{theirs}.{len(layers) + 1}")
    return found | torchvision_unit("last", f"features.{index + 1}") | {"logits": "classifier.1"}


def v3_names(model: MobileNetV3) -> Names:
    """Return torchvision's name of every module."""
    found = torchvision_unit("stem", "features.0")
    entering = widened(16, model.width_percent)
    for block, (expanded, channels, squeezed) in enumerate(
        zip(model.expanded, model.channels, model.squeezed, strict=True)
    ):
        found |= torchvision_block(
            f"block_{block}",
            f"features.{block + 1}.block",
            expands=widened(expanded, model.width_percent) != entering,
            squeezed=squeezed and model.squeeze_excitation is not None,
        )
        entering = widened(channels, model.width_percent)
    last = torchvision_unit("last", f"features.{len(model.channels) + 1}")
    return found | last | {"hidden": "classifier.0", "logits": "classifier.3"}
