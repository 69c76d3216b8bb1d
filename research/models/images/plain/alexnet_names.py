"""torchvision's names of AlexNet."""

from research.errors import UsageError
from research.models.images.plain.alexnet import AlexNet
from research.models.naming import Entry, Flattened, Names

CONVOLUTIONS = (0, 3, 6, 8, 10)  # among the features, with activations and maxima between them


def names(model: AlexNet) -> Names:
    """Return the name of every module.

    Raises:
        UsageError: the model has response normalization or no hidden dense layers, unlike torchvision's.
    """
    if model.response_normalization or not model.dense:
        raise UsageError("torchvision has no AlexNet with model.response_normalization, or without model.dense")
    ours = ("stem", *(f"unit_{index}" for index in range(4)))
    found: dict[str, Entry] = {
        f"{name}.convolution": f"features.{index}" for name, index in zip(ours, CONVOLUTIONS, strict=True)
    }
    for index in range(len(model.dense)):  # dropout, dense layer and activation each
        found[f"dense_{index}"] = f"classifier.{3 * index + 1}"
    found["logits"] = f"classifier.{3 * len(model.dense)}"
    return found | {"dense_0": Flattened("classifier.1", model.grid**2)}
