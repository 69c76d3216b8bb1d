"""Masked language modeling with next-sentence prediction, the pretraining of BERT."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from research.data.schema import Schema, Tokens
from research.errors import UsageError
from research.fields import Switch
from research.tasks.losses.elementwise import cross_entropy, is_likeliest
from research.tasks.metrics.quotients import mean, perplexity
from research.tasks.task import Batch, Columns, Sums, Task, counted


@dataclasses.dataclass(frozen=True)
class MaskedLanguageModeling(Task):
    """Guess the tokens that were hidden, and whether one sentence follows another: Devlin et al. (2019, section 3.1).

    Outputs are a mapping of logits `masked` [b, l, v] and `next` [b, 2]; the first are compared with `targets` [b, l]
    where `predicted` [b, l], the second with `next` [b], 1 where the second sentence follows the first. Minimised is
    the mean over predicted tokens, plus `next_weight` times that over examples, nats. Metrics: that loss, loss and
    accuracy of each part, and the perplexity of the masked tokens.
    """

    headline: ClassVar[tuple[str, ...]] = ("loss", "masked_accuracy")
    required: ClassVar[tuple[str, ...]] = ("targets", "predicted", "next")

    next_weight: Switch = 1.0
    """Weight of the loss of next-sentence prediction."""

    def check(self, schema: Schema, outputs: Any) -> None:
        """Raise unless the model has both heads, and a logit for every token of the vocabulary."""
        if not isinstance(outputs, Mapping) or not {"masked", "next"} <= outputs.keys():
            raise UsageError(
                "MaskedLanguageModeling reads a mapping of masked and next, which the model does not give: "
                "choose a model for pretraining"
            )
        self.require_layout(outputs["masked"], "[b, l, vocabulary]", "masked")
        self.require_layout(outputs["next"], "[b, 2]", "next")
        width, targets = outputs["masked"].shape[-1], schema.entries.get("targets")
        if isinstance(targets, Tokens) and width < targets.ids:
            raise UsageError(
                f"the model gives {width} logits, but the vocabulary of the data has {targets.ids} tokens: "
                "set model.vocabulary"
            )

    def measure(self, outputs: dict[str, jax.Array], batch: Batch) -> Sums:
        """Return sums over a batch of both parts; mask [b] is optional."""
        mask, targets, follows = counted(batch), batch["targets"], batch["next"]
        predicted = batch["predicted"] & mask[:, None]  # [b, l]
        masked, following = outputs["masked"], outputs["next"]
        return {
            "masked_loss": jnp.where(predicted, cross_entropy(masked, targets), 0).sum(),
            "masked_count": predicted.sum(dtype=jnp.int32),
            "masked_correct": (predicted & is_likeliest(masked, targets)).sum(dtype=jnp.int32),
            "next_loss": jnp.where(mask, cross_entropy(following, follows), 0).sum(),
            "next_count": mask.sum(dtype=jnp.int32),
            "next_correct": (mask & is_likeliest(following, follows)).sum(dtype=jnp.int32),
        }

    def objective(self, sums: Sums) -> jax.Array:
        """Return the mean over predicted tokens, plus the weighted mean over examples; 0 for what there is none of."""
        masked, following = (
            sums[f"{part}_loss"] / jnp.maximum(sums[f"{part}_count"], 1) for part in ("masked", "next")
        )
        return masked + self.next_weight * following

    def summarize(self, sums: Sums) -> dict[str, float]:
        """Return both losses and accuracies, their weighted sum, and the perplexity; of nothing, NaN."""
        masked, following = (mean(sums[f"{part}_loss"], sums[f"{part}_count"]) for part in ("masked", "next"))
        return {
            "loss": masked + self.next_weight * following,
            "masked_loss": masked,
            "masked_accuracy": mean(sums["masked_correct"], sums["masked_count"]),
            "perplexity": perplexity(masked),
            "next_loss": following,
            "next_accuracy": mean(sums["next_correct"], sums["next_count"]),
        }

    def predictions(self, outputs: dict[str, jax.Array], batch: Batch) -> Columns:
        """Return label, prediction and probabilities of the next sentence, and the accuracy of the row's masked tokens.

        The last is NaN for a row in which none was predicted.
        """
        predicted = batch["predicted"]
        right = predicted & is_likeliest(outputs["masked"], batch["targets"])
        return {
            "label": batch["next"],
            "prediction": outputs["next"].argmax(axis=-1),
            "probability": jax.nn.softmax(outputs["next"].astype(jnp.float32)),
            "masked_accuracy": right.sum(axis=1) / predicted.sum(axis=1),
        }
