"""torchvision's names of Inception v1, GoogLeNet."""

from research.errors import UsageError
from research.models.images.inception.inception_v1 import AUXILIARY_GRID, InceptionV1
from research.models.naming import Entry, Flattened, Names

BRANCHES = {
    "one_0": "branch1",
    "three_0": "branch2.0",
    "three_1": "branch2.1",
    "five_0": "branch3.0",
    "five_1": "branch3.1",
    "pooled_0": "branch4.1",
}


def names(model: InceptionV1) -> Names:
    """Return the name of every module.

    Raises:
        UsageError: the model has response normalization, which torchvision's has not.
    """
    if model.response_normalization:
        raise UsageError("torchvision has no GoogLeNet with model.response_normalization")
    units = {f"stem_{index}": f"conv{index + 1}" for index in range(3)}
    for stage, blocks in enumerate(model.blocks):
        for index in range(blocks):
            theirs = f"inception{stage + 3}{'abcde'[index]}"
            units |= {f"stage_{stage}_block_{index}.{ours}": f"{theirs}.{name}" for ours, name in BRANCHES.items()}
    found: dict[str, Entry] = {"logits": "fc"}
    for index in range(2):
        ours, theirs = f"auxiliary_{index}", f"aux{index + 1}"
        units[f"{ours}.unit"] = f"{theirs}.conv"
        found[f"{ours}.dense"] = Flattened(f"{theirs}.fc1", AUXILIARY_GRID**2)
        found[f"{ours}.logits"] = f"{theirs}.fc2"
    for ours, theirs in units.items():
        found |= {f"{ours}.convolution": f"{theirs}.conv", f"{ours}.norm": f"{theirs}.bn"}
    return found
