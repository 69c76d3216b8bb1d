"""What every model answers: what it reads of a batch, how it is divided among devices, which token ids it knows."""

import inspect
from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import flax.linen as nn
import jax

from research.errors import UsageError
from research.layers.partition import Rules


class Model(nn.Module):
    """A network that an experiment trains: a linen module whose fields are the architecture.

    All answers are those of the value, so they may depend on its fields, and a wrapper may hand on those of the model
    that it holds. They need no parameters. Each has a default, so that a linen module that is no `Model` trains too:
    `as_model` answers for it.
    """

    @property
    def reads(self) -> tuple[str, ...]:
        """The batch entries that it is called with: "lengths?" may be missing, "image|features" is one of the two.

        A model that names one entry is called with that array, one that names several with a mapping of those that
        there are. One that names none is called with the image if there is one, else with the only entry that there is.
        """
        return ()

    @property
    def partition(self) -> Rules:
        """How its parameters are divided over the mesh axis "tensor"; nothing is where there are no rules."""
        return ()

    @property
    def auxiliary(self) -> bool:
        """Whether it sows the logits of auxiliary classifiers in training, which a task has to train."""
        return False

    @nn.nowrap
    def vocabularies(self) -> dict[str, int]:
        """Return how many token ids it knows, by the entry that holds them."""
        return {}


@runtime_checkable
class Writer(Protocol):
    """A model that writes token after token, with what `research.layers.sequences.decoding` and `sampling` need.

    What it carries from one token to the next is any tree of arrays whose first axis is the batch.
    """

    def start(self, inputs: Any, capacity: int) -> Any:
        """Read what is there before the first step, and make room for `capacity` tokens.

        An encoder-decoder reads the source and returns the carry. A language model reads the beginnings of texts, and
        returns the carry and the logits [b, v] of the token after each.
        """

    def step(self, carry: Any, tokens: jax.Array) -> tuple[Any, jax.Array]:
        """Return the carry after one token for each row [b], and the logits [b, v] of the next."""


@runtime_checkable
class BoundedWriter(Writer, Protocol):
    """A writer that sees a limited number of tokens at once; what a recurrent one carries has room for any number."""

    max_length: int


def as_model(model: nn.Module) -> Model:
    """Return the model itself, or the defaults for a linen module that is no `Model`."""
    return model if isinstance(model, Model) else Model()


def check_call(model: nn.Module) -> None:
    """Raise `UsageError` unless a model can be told whether it is called in training."""
    taken = inspect.signature(type(model).__call__).parameters
    if "train" not in taken and not any(each.kind is each.VAR_KEYWORD for each in taken.values()):
        name = type(model).__name__
        raise UsageError(
            f"{name}.__call__ takes no `train`, which says whether it is called in training: write `def __call__(self, "
            "x, train: bool = False)`"
        )


def model_inputs(model: nn.Module, shown: Mapping[str, Any]) -> Any:
    """Return what `model` is called with, of the entries of a batch that it is shown.

    Raises:
        UsageError: an entry that it reads is not there, or there are texts to be read apart that it would read as one.
    """
    reads = as_model(model).reads
    if not reads:
        if "image" in shown:
            return shown["image"]
        return next(iter(shown.values())) if len(shown) == 1 else dict(shown)
    found = {}
    for entry in reads:
        names = entry.removesuffix("?").split("|")
        name = next((name for name in names if name in shown), None)
        if name is not None:
            found[name] = shown[name]
        elif not entry.endswith("?"):
            raise UsageError(
                f"{type(model).__name__} reads {' or '.join(names)}, but the data gives it "
                f"{', '.join(sorted(shown)) or 'nothing'}: choose another model, or other data"
            )
    if "documents" in shown and "documents" not in found:
        raise UsageError(
            f"{type(model).__name__} would read the texts that share a window as one: set data.packed=False, or choose "
            "a model that reads documents"
        )
    return found if len(reads) > 1 else next(iter(found.values()))
