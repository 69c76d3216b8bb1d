"""What torchvision, timm and transformers call the modules of our models."""

from collections.abc import Mapping

import flax.linen as nn
import numpy as np

from research.errors import UsageError
from research.interchange.families import FAMILIES, MODELS, as_named_now, kind_of
from research.models.images.inception import inception_v1_names, inception_v3_names
from research.models.images.inception.inception_v1 import InceptionV1
from research.models.images.inception.inception_v3 import InceptionV3
from research.models.images.mobile import efficientnet_names, mobilenet_names
from research.models.images.mobile.efficientnet import EfficientNet
from research.models.images.mobile.mobilenet import MobileNet
from research.models.images.mobile.mobilenet_v2 import MobileNetV2
from research.models.images.mobile.mobilenet_v3 import MobileNetV3
from research.models.images.patches import convnext_names, mixer_names, vit_names
from research.models.images.patches.convnext import ConvNeXt
from research.models.images.patches.mixer import Mixer
from research.models.images.patches.vit import ViT
from research.models.images.plain import alexnet_names, vgg_names
from research.models.images.plain.alexnet import AlexNet
from research.models.images.plain.vgg import VGG
from research.models.images.residual import densenet_names, resnet_names, xception_names
from research.models.images.residual.densenet import DenseNet
from research.models.images.residual.resnet import ResNet
from research.models.images.residual.xception import Xception
from research.models.naming import Names


def names(model: nn.Module) -> Names:
    """Return the other library's name of every module of `model` that has parameters.

    Raises:
        UsageError: no library that we know has such a model; of a language model, in which fields it differs.
    """
    match model:
        case ResNet():
            return resnet_names.names(model)
        case ViT():
            return vit_names.names(model)
        case Mixer():
            return mixer_names.names(model)
        case MobileNet():
            return mobilenet_names.v1_names(model)
        case MobileNetV2():
            return mobilenet_names.v2_names(model)
        case MobileNetV3():
            return mobilenet_names.v3_names(model)
        case EfficientNet():
            return efficientnet_names.names(model)
        case ConvNeXt():
            return convnext_names.names(model)
        case AlexNet():
            return alexnet_names.names(model)
        case VGG():
            return vgg_names.names(model)
        case InceptionV1():
            return inception_v1_names.names(model)
        case InceptionV3():
            return inception_v3_names.names(model)
        case Xception():
            return xception_names.names(model)
        case DenseNet():
            return densenet_names.names(model)
    if isinstance(model, MODELS):
        return FAMILIES[kind_of(model)].names(model)
    raise UsageError(f"there are no names of another library for {type(model).__name__}")


def published_activation(model: nn.Module) -> str | None:
    """Return the activation that published weights of a model were trained with, where that is not the model's default.

    timm's MobileNet v1 has relu6, as TensorFlow's; the paper and our model have relu.
    """
    return "relu6" if isinstance(model, MobileNet) else None


def renamed(tensors: Mapping[str, np.ndarray], model: nn.Module) -> Mapping[str, np.ndarray]:
    """Return a file's tensors as `names` and `variants` have them, whichever of its names a language model's file has.

    Raises:
        UsageError: tensors that should be one differ.
    """
    return as_named_now(tensors, model, FAMILIES[kind_of(model)]) if isinstance(model, MODELS) else tensors


def variants(model: nn.Module) -> tuple[Names, ...]:
    """Return every set of names that files of weights for `model` are known to have, that of `names` first."""
    other = (efficientnet_names.ported_names(model),) if isinstance(model, EfficientNet) else ()
    return names(model), *other
