"""torchvision's names of VGG."""

from research.models.images.plain.vgg import VGG
from research.models.naming import Entry, Flattened, Names


def names(model: VGG) -> Names:
    """Return the name of every module."""
    found: dict[str, Entry] = {}
    place = 0  # among the features: convolutions, normalizations, activations, maxima
    for stage, blocks in enumerate(model.blocks):
        for index in range(blocks):
            found[f"stage_{stage}_unit_{index}.convolution"] = f"features.{place}"
            found[f"stage_{stage}_unit_{index}.norm"] = f"features.{place + 1}"
            place += 2 if model.norm == "none" else 3
        place += 1
    for index in range(len(model.dense)):  # dense layer, activation and dropout each
        found[f"dense_{index}"] = f"classifier.{3 * index}"
    found["logits"] = f"classifier.{3 * len(model.dense)}"
    first = "dense_0" if model.dense else "logits"
    return found | {first: Flattened("classifier.0", model.grid**2)}
