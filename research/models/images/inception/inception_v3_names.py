"""torchvision's names of Inception v3."""

from research.models.images.inception.inception_v3 import InceptionV3
from research.models.naming import Entry, Names

STEM = ("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "Conv2d_3b_1x1", "Conv2d_4a_3x3")


def chain(ours: str, theirs: str, length: int) -> dict[str, str]:
    """Return the names of the convolutions of a chain, which count from 0 here and from 1 there."""
    return {f"{ours}_{index}": f"{theirs}_{index + 1}" for index in range(length)}


ONE, POOLED = {"one_0": "branch1x1"}, {"pooled_0": "branch_pool"}
A = {**ONE, **chain("five", "branch5x5", 2), **chain("three", "branch3x3dbl", 3), **POOLED}
B = {"three_0": "branch3x3", **chain("double", "branch3x3dbl", 3)}
C = {**ONE, **chain("seven", "branch7x7", 3), **chain("double", "branch7x7dbl", 5), **POOLED}
D = {**chain("three", "branch3x3", 2), **chain("seven", "branch7x7x3", 4)}
E = {
    **ONE,
    "three_0": "branch3x3_1",
    "three_wide": "branch3x3_2a",
    "three_high": "branch3x3_2b",
    **chain("double", "branch3x3dbl", 2),
    "double_wide": "branch3x3dbl_3a",
    "double_high": "branch3x3dbl_3b",
    **POOLED,
}


def names(model: InceptionV3) -> Names:
    """Return the name of every module."""
    units = {f"stem_{index}": name for index, name in enumerate(STEM)}
    first, second, third = model.blocks
    blocks = [(f"stage_0_block_{index}", f"Mixed_5{chr(ord('b') + index)}", A) for index in range(first)]
    for stage, (count, shrinking, others) in enumerate(((second, B, C), (third, D, E))):
        blocks.append((f"reduction_{stage}", f"Mixed_{stage + 6}a", shrinking))
        for index in range(count):
            blocks.append((f"stage_{stage + 1}_block_{index}", f"Mixed_{stage + 6}{chr(ord('b') + index)}", others))
    for ours, theirs, branches in blocks:
        units |= {f"{ours}.{inside}": f"{theirs}.{name}" for inside, name in branches.items()}
    units |= {"auxiliary.unit_0": "AuxLogits.conv0", "auxiliary.unit_1": "AuxLogits.conv1"}
    found: dict[str, Entry] = {"auxiliary.logits": "AuxLogits.fc", "logits": "fc"}
    for ours, theirs in units.items():
        found |= {f"{ours}.convolution": f"{theirs}.conv", f"{ours}.norm": f"{theirs}.bn"}
    return found
