"""timm's names of Xception, there `legacy_xception`."""

from research.errors import UsageError
from research.models.images.residual.xception import Xception
from research.models.naming import Names


def names(model: Xception) -> Names:
    """Return the name of every module.

    Raises:
        UsageError: the convolutions are not separable, or there are activations inside of them, for which timm has no
            model.
    """
    if not model.depthwise or model.intermediate_activation is not None:
        raise UsageError("timm has no Xception with depthwise=False or intermediate_activation")
    found = {"logits": "fc"}
    for index in range(2):
        found |= {f"stem_{index}.convolution": f"conv{index + 1}", f"stem_{index}.norm": f"bn{index + 1}"}
        found |= separable(f"exit_{index + 1}", f"conv{index + 3}", f"bn{index + 3}")
    blocks = [(f"entry_{index}", 2) for index in range(len(model.entry))]
    blocks += [*((f"middle_{index}", 3) for index in range(model.middle)), ("exit_0", 2)]
    for block, (ours, convolutions) in enumerate(blocks):
        theirs = f"block{block + 1}"
        found |= {f"{ours}.projection.convolution": f"{theirs}.skip", f"{ours}.projection.norm": f"{theirs}.skipbn"}
        for index in range(convolutions):
            place = 3 * index + (block > 0)  # activation, convolution and normalization each, the very first without
            found |= separable(f"{ours}.unit_{index}", f"{theirs}.rep.{place}", f"{theirs}.rep.{place + 1}")
    return found


def separable(ours: str, convolution: str, norm: str) -> dict[str, str]:
    """Return the names of the parts of a separable convolution and of its normalization."""
    return {
        f"{ours}.depthwise": f"{convolution}.conv1",
        f"{ours}.pointwise": f"{convolution}.pointwise",
        f"{ours}.norm": norm,
    }
