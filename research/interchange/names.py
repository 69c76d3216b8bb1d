"""What torchvision and timm call the modules of our models."""

import flax.linen as nn

from research.errors import UsageError
from research.interchange import (
    alexnet,
    convnext,
    densenet,
    efficientnet,
    inception_v1,
    inception_v3,
    mixer,
    mobilenet,
    resnet,
    vgg,
    vit,
    xception,
)
from research.interchange.entries import Names
from research.models.alexnet import AlexNet
from research.models.convnext import ConvNeXt
from research.models.densenet import DenseNet
from research.models.efficientnet import EfficientNet
from research.models.inception_v1 import InceptionV1
from research.models.inception_v3 import InceptionV3
from research.models.mixer import Mixer
from research.models.mobilenet import MobileNet
from research.models.mobilenet_v2 import MobileNetV2
from research.models.mobilenet_v3 import MobileNetV3
from research.models.resnet import ResNet
from research.models.vgg import VGG
from research.models.vit import ViT
from research.models.xception import Xception


def names(model: nn.Module) -> Names:
    """Return the other library's name of every module of `model` that has parameters.

    Raises:
        UsageError: no library that we know has such a model.
    """
    match model:
        case ResNet():
            return resnet.names(model)
        case ViT():
            return vit.names(model)
        case Mixer():
            return mixer.names(model)
        case MobileNet():
            return mobilenet.v1_names(model)
        case MobileNetV2():
            return mobilenet.v2_names(model)
        case MobileNetV3():
            return mobilenet.v3_names(model)
        case EfficientNet():
            return efficientnet.names(model)
        case ConvNeXt():
            return convnext.names(model)
        case AlexNet():
            return alexnet.names(model)
        case VGG():
            return vgg.names(model)
        case InceptionV1():
            return inception_v1.names(model)
        case InceptionV3():
            return inception_v3.names(model)
        case Xception():
            return xception.names(model)
        case DenseNet():
            return densenet.names(model)
    raise UsageError(f"there are no names of another library for {type(model).__name__}")


def variants(model: nn.Module) -> tuple[Names, ...]:
    """Return every set of names that files of weights for `model` are known to have, that of `names` first."""
    other = (efficientnet.ported_names(model),) if isinstance(model, EfficientNet) else ()
    return names(model), *other
