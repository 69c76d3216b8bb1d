"""torchvision's and timm's names of convolutions with normalization, and of the blocks made of them."""

from research.models.naming import Entry, Pointwise


def unit(ours: str, convolution: str, norm: str) -> dict[str, Entry]:
    """Return the names of a convolution and the normalization after it."""
    return {f"{ours}.convolution": convolution, f"{ours}.norm": norm}


def torchvision_unit(ours: str, theirs: str) -> dict[str, Entry]:
    """Return the names of a convolution and the normalization after it, which torchvision numbers 0 and 1."""
    return unit(ours, f"{theirs}.0", f"{theirs}.1")


def torchvision_block(ours: str, theirs: str, expands: bool, squeezed: bool) -> dict[str, Entry]:
    """Return the names of an inverted residual block; torchvision numbers the layers that there are."""
    layers = ["expand"] * expands + ["spatial"] + ["squeeze_excitation"] * squeezed + ["project"]
    found: dict[str, Entry] = {}
    for index, layer in enumerate(layers):
        if layer == "squeeze_excitation":
            found[f"{ours}.{layer}.squeeze"] = Pointwise(f"{theirs}.{index}.fc1")
            found[f"{ours}.{layer}.excite"] = Pointwise(f"{theirs}.{index}.fc2")
        else:
            found |= torchvision_unit(f"{ours}.{layer}", f"{theirs}.{index}")
    return found
