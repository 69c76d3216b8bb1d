"""Distillation: classification that also learns from what a trained network, the teacher, says of each example."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from research.errors import UsageError
from research.fields import Positive, Rate, is_static_zero
from research.tasks.classification import Classification
from research.tasks.losses.elementwise import divergence
from research.tasks.metrics.quotients import mean
from research.tasks.task import Batch, Sums, counted


@dataclasses.dataclass(frozen=True)
class Distillation(Classification):
    """Classification whose loss is (1 - share) of the cross-entropy and `share` of a divergence from the teacher.

    The divergence is that of Hinton, Vinyals and Dean, "Distilling the knowledge in a neural network" (2015): T^2
    KL(softmax(t / T) || softmax(s / T)) of the teacher's logits t and the model's s, [b, c], at the temperature T; T^2
    keeps the size of its gradients. Metrics besides those of classification: `divergence`, the mean of KL(softmax(t /
    T) || softmax(s / T)) in nats, and `agreement`, the share of examples on whose class the two agree.
    """

    references: ClassVar[tuple[str, ...]] = ("teacher",)
    required: ClassVar[tuple[str, ...]] = ("label", "teacher")

    temperature: Positive = 4.0
    """What both networks' logits are divided by; the higher, the more the classes that are not the likeliest count."""
    share: Rate = 0.9
    """Weight of the teacher in the loss; 0 learns from labels alone."""

    def check_references(self, given: Mapping[str, Any], outputs: Any) -> None:
        """Raise unless the teacher has as many classes as the model."""
        if given["teacher"].shape != outputs.shape:
            raise UsageError(
                f"the teacher gives {list(given['teacher'].shape)} and the model {list(outputs.shape)}: "
                "set model.classes to that of the teacher's model"
            )

    def losses(self, logits: jax.Array, label: jax.Array, batch: Batch) -> jax.Array:
        """Return the loss of each example, [b]: of the label, and of what the teacher says."""
        loss = super().losses(logits, label, batch)
        if is_static_zero(self.share):
            return loss
        return (1 - self.share) * loss + self.share * self.temperature**2 * self._divergence(logits, batch)

    def measure(self, outputs: jax.Array | tuple[jax.Array, ...], batch: Batch) -> Sums:
        """Return the sums of classification, and those of divergence and agreement with `teacher` [b, c]."""
        logits = outputs[0] if isinstance(outputs, tuple) else outputs
        mask = counted(batch)
        agrees = logits.argmax(axis=1) == batch["teacher"].argmax(axis=1)
        return {
            **super().measure(outputs, batch),
            "divergence": jnp.where(mask, self._divergence(logits, batch), 0).sum(),
            "agreement": (mask & agrees).sum(dtype=jnp.int32),
        }

    def _divergence(self, logits: jax.Array, batch: Batch) -> jax.Array:
        """Return KL(teacher || model) of each example at the temperature, [b]."""
        return divergence(batch["teacher"] / self.temperature, logits / self.temperature)

    def summarize(self, sums: Sums) -> dict[str, float]:
        """Return the metrics of classification, and divergence and agreement."""
        return {
            **super().summarize(sums),
            "divergence": mean(sums["divergence"], sums["count"]),
            "agreement": mean(sums["agreement"], sums["count"]),
        }
