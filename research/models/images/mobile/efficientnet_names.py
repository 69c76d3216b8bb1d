"""torchvision's names of EfficientNet, timm's of EfficientNet-Lite, and those of the first port to PyTorch."""

from collections.abc import Iterator

from research.models.images.block_names import torchvision_block, torchvision_unit, unit
from research.models.images.mobile.efficientnet import EfficientNet
from research.models.naming import Entry, Names, Pointwise


def names(model: EfficientNet) -> Names:
    """Return the name of every module: timm's where there is no squeeze and excitation, else torchvision's."""
    return _torchvision_names(model) if model.squeeze_excitation is not None else _timm_names(model)


def ported_names(model: EfficientNet) -> Names:
    """Return the names of the package efficientnet-pytorch (Melas-Kyriazi, 2019), which number all blocks in one row.

    Published weights of EfficientNet-Lite have them too.
    """
    found = {**unit("stem", "_conv_stem", "_bn0"), **unit("last", "_conv_head", "_bn1"), "logits": "_fc"}
    for index, (stage, block, expands) in enumerate(_blocks(model)):
        ours, theirs = f"stage_{stage}.block_{block}", f"_blocks.{index}"
        if expands:
            found |= unit(f"{ours}.expand", f"{theirs}._expand_conv", f"{theirs}._bn0")
        found |= unit(f"{ours}.spatial", f"{theirs}._depthwise_conv", f"{theirs}._bn1")
        found[f"{ours}.squeeze_excitation.squeeze"] = Pointwise(f"{theirs}._se_reduce")
        found[f"{ours}.squeeze_excitation.excite"] = Pointwise(f"{theirs}._se_expand")
        found |= unit(f"{ours}.project", f"{theirs}._project_conv", f"{theirs}._bn2")
    return found


def _torchvision_names(model: EfficientNet) -> Names:
    """Return torchvision's name of every module."""
    found = torchvision_unit("stem", "features.0")
    for stage, block, expands in _blocks(model):
        ours, theirs = f"stage_{stage}.block_{block}", f"features.{stage + 1}.{block}.block"
        found |= torchvision_block(ours, theirs, expands, squeezed=True)
    return found | torchvision_unit("last", f"features.{len(model.blocks) + 1}") | {"logits": "classifier.1"}


def _timm_names(model: EfficientNet) -> Names:
    """Return timm's name of every module; what projects is called pwl only after something that expands."""
    found: dict[str, Entry] = {
        **unit("stem", "conv_stem", "bn1"),
        **unit("last", "conv_head", "bn2"),
        "logits": "classifier",
    }
    for stage, block, expands in _blocks(model):
        ours, theirs = f"stage_{stage}.block_{block}", f"blocks.{stage}.{block}"
        layers = [("expand", "conv_pw"), ("spatial", "conv_dw"), ("project", "conv_pwl")]
        if not expands:
            layers = [("spatial", "conv_dw"), ("project", "conv_pw")]
        for index, (layer, name) in enumerate(layers):
            found |= unit(f"{ours}.{layer}", f"{theirs}.{name}", f"{theirs}.bn{index + 1}")
    return found


def _blocks(model: EfficientNet) -> Iterator[tuple[int, int, bool]]:
    """Yield stage and index of each block, and whether it expands."""
    for stage, (blocks, expansion) in enumerate(zip(model.depths(), model.expansions, strict=True)):
        for block in range(blocks):
            yield stage, block, expansion > 1
