"""What torchvision and timm call the modules of our models."""

import flax.linen as nn

from research.errors import UsageError
from research.interchange import resnet
from research.interchange.entries import Names
from research.models.resnet import ResNet


def names(model: nn.Module) -> Names:
    """Return the other library's name of every module of `model` that has parameters.

    Raises:
        UsageError: no library that we know has such a model.
    """
    match model:
        case ResNet():
            return resnet.names(model)
    raise UsageError(f"there are no names of another library for {type(model).__name__}")
