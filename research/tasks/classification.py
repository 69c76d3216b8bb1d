"""Classification into one of several classes."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from research.errors import UsageError
from research.fields import NonNegative, Rate, Size
from research.tasks.losses import cross_entropy
from research.tasks.quotients import mean, mean_of, share
from research.tasks.task import Batch, Columns, Sums, Task, counted


@dataclasses.dataclass(frozen=True)
class Classification(Task):
    """Softmax cross-entropy of logits [b, c] and `label` [b]; label smoothing (Szegedy et al., 2016), class weights.

    The loss is the weighted mean sum(w[y] * loss) / sum(w[y]). An example mixed of two, with `other` [b] and `share`
    [b], counts as `share` of an example of `label` and 1 - share of one of `other`; all metrics but the loss are those
    of `label`, so while training accuracy is lower than on whole examples. Metrics: loss, accuracy, top-k accuracy,
    macro precision, recall and F1 over the classes that occur among labels or predictions (a quotient 0 / 0 counts as
    0), and the confusion matrix.
    """

    monitor: ClassVar[str] = "accuracy"
    maximize: ClassVar[bool] = True
    headline: ClassVar[tuple[str, ...]] = ("loss", "accuracy")
    entries: ClassVar[tuple[str, ...]] = ("label",)
    mixes: ClassVar[bool] = True

    label_smoothing: Rate = 0.0
    """Share of the target spread evenly over all classes."""
    class_weights: tuple[NonNegative, ...] | None = None
    """Weight of each class in the loss; None weighs all alike."""
    top_k: Size = 3
    """An example counts in top-k accuracy when fewer than k classes outscore its label."""

    def check(self, spec: Mapping[str, Any], outputs: Any, classes: int | None) -> None:
        """Raise unless there is one logit per class, and one weight per class where weights are given."""
        self.require_layout(outputs, "[b, classes]")
        width = outputs.shape[-1]
        if classes is not None and width != classes:
            raise UsageError(
                f"the model gives {width} logits, but the dataset has {classes} classes: set model.classes"
            )
        if self.class_weights is not None and len(self.class_weights) != width:
            raise UsageError(f"task.class_weights has {len(self.class_weights)} weights for {width} classes")
        if self.class_weights is not None and not any(self.class_weights):
            raise UsageError("task.class_weights are all zero: nothing would be learned")

    def measure(self, outputs: jax.Array, batch: Batch) -> Sums:
        """Return sums over a batch: logits [b, c], label [b], mask [b] (True where an example counts; optional)."""
        b, c = outputs.shape
        label, mask = batch["label"], counted(batch)
        loss, weight = self._weighted(outputs, label, batch.get("share", 1.0), mask)
        if "other" in batch:
            more = self._weighted(outputs, batch["other"], 1 - batch["share"], mask)
            loss, weight = loss + more[0], weight + more[1]
        score = jnp.take_along_axis(outputs, label[:, None], axis=1)  # [b, 1]
        rank = (~(outputs <= score)).sum(axis=1)  # [b]; written so that a NaN outscores the label
        count = mask.astype(jnp.int32)
        return {
            "loss": loss,
            "weight": weight,
            "count": count.sum(),
            "top_k": (count * (rank < self.top_k)).sum(),
            "confusion": jnp.zeros((c, c), jnp.int32).at[label, outputs.argmax(axis=1)].add(count),
        }

    def _weighted(
        self, outputs: jax.Array, label: jax.Array, share: jax.Array | float, mask: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Return the sums of weighted losses and of weights, where `share` [b] of each example counts."""
        weight = jnp.where(mask, share, jnp.float32(0))
        if self.class_weights is not None:
            weight = weight * jnp.stack([jnp.float32(w) for w in self.class_weights])[label]
        loss = cross_entropy(outputs, label, self.label_smoothing)  # [b]
        return jnp.where(mask, weight * loss, 0).sum(), weight.sum()

    def summarize(self, sums: Sums) -> dict[str, float]:
        """Return loss, accuracy, top-k accuracy and macro precision, recall and F1; of no examples, NaN."""
        confusion = np.asarray(sums["confusion"], np.float64)
        hits, labels, guesses = np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
        seen, count = labels + guesses > 0, sums["count"]
        return {
            "loss": mean(sums["loss"], sums["weight"]),
            "accuracy": mean(hits.sum(), count),
            f"top_{self.top_k}_accuracy": mean(sums["top_k"], count),
            "macro_precision": mean_of(share(hits, guesses)[seen]),
            "macro_recall": mean_of(share(hits, labels)[seen]),
            "macro_f1": mean_of(share(2 * hits, labels + guesses)[seen]),
        }

    def details(self, sums: Sums) -> dict[str, Any]:
        """Return the confusion matrix: rows are labels, columns predictions."""
        return {"confusion_matrix": np.asarray(sums["confusion"]).tolist()}

    def predictions(self, outputs: jax.Array, batch: Batch) -> Columns:
        """Return the label and the predicted class, [b], and the probability of every class, [b, c]."""
        return {
            "label": batch["label"],
            "prediction": outputs.argmax(axis=1),
            "probability": jax.nn.softmax(outputs.astype(jnp.float32)),
        }
