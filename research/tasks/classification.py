"""Classification into one of several classes."""

import dataclasses
import re
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from research.data.schema import Categorical, Schema
from research.errors import UsageError
from research.fields import NonNegative, Rate, Size, Switch, is_static_zero
from research.tasks.losses.elementwise import cross_entropy
from research.tasks.metrics.agreement import of_confusion
from research.tasks.metrics.quotients import mean
from research.tasks.task import Batch, Columns, Sums, Task, counted


@dataclasses.dataclass(frozen=True)
class Classification(Task):
    """Softmax cross-entropy of logits [b, c] and `label` [b]; label smoothing (Szegedy et al., 2016), class weights.

    The loss is the weighted mean sum(w[y] * loss) / sum(w[y]). An example mixed of two, with `other` [b] and `share`
    [b], counts as `share` of an example of `label` and 1 - share of one of `other`; all metrics but the loss are those
    of `label`, so while training accuracy is lower than on whole examples. What a model sows in training as
    `auxiliary_logits`, or `auxiliary_0_logits` and so on, [b, c], adds `auxiliary` times its own such loss to what is
    minimised, and to no metric (Szegedy et al., 2015, section 5). Metrics: loss, accuracy, top-k accuracy,
    macro precision, recall and F1 over the classes that occur among labels or predictions (a quotient 0 / 0 counts as
    0), and the confusion matrix.
    """

    monitor: ClassVar[str] = "accuracy"
    maximize: ClassVar[bool] = True
    headline: ClassVar[tuple[str, ...]] = ("loss", "accuracy")
    required: ClassVar[tuple[str, ...]] = ("label",)
    mixes: ClassVar[bool] = True

    label_smoothing: Rate = 0.0
    """Share of the target spread evenly over all classes."""
    class_weights: tuple[NonNegative, ...] | None = None
    """Weight of each class in the loss; None weighs all alike."""
    top_k: Size = 3
    """An example counts in top-k accuracy when fewer than k classes outscore its label."""
    auxiliary: Switch = 0.0
    """Weight of the loss of each auxiliary classifier of the model; 0 is off. 0.3 in Inception v1, 0.4 in v3."""

    def width(self, schema: Schema) -> int | None:
        """Return the number of classes."""
        label = schema.entries.get("label")
        return label.classes if isinstance(label, Categorical) else None

    def check(self, schema: Schema, outputs: Any) -> None:
        """Raise unless there is one logit per class, and one weight per class where weights are given."""
        self.require_layout(outputs, "[b, classes]")
        width, classes = outputs.shape[-1], self.width(schema)
        if classes is not None and width != classes:
            raise UsageError(
                f"the model gives {width} logits, but the dataset has {classes} classes: set model.classes"
            )
        if self.class_weights is not None and len(self.class_weights) != width:
            raise UsageError(f"task.class_weights has {len(self.class_weights)} weights for {width} classes")
        if self.class_weights is not None and not any(self.class_weights):
            raise UsageError("task.class_weights are all zero: nothing would be learned")

    def objective(self, sums: Sums) -> jax.Array:
        """Return the mean loss, with that of auxiliary classifiers where they are trained."""
        if "auxiliary" in sums:
            sums = {**sums, "loss": sums["loss"] + self.auxiliary * sums["auxiliary"]}
        return super().objective(sums)

    def forward(
        self, model: nn.Module, params: Any, variables: Any, batch: Batch, key: jax.Array | None = None
    ) -> tuple[Any, Any]:
        """Return the logits, in training with those of auxiliary classifiers behind them, and the updated variables.

        Raises:
            UsageError: the batch lacks an entry; `auxiliary` is on and the model has no auxiliary classifier.
        """
        if key is None or is_static_zero(self.auxiliary):
            return super().forward(model, params, variables, batch, key)
        outputs, updated = super().forward(model, params, {**variables, "intermediates": {}}, batch, key)
        updated = dict(updated)
        sown = updated.pop("intermediates", {})
        auxiliary = [sown[name][0] for name in sorted(sown) if re.fullmatch(r"auxiliary(_\d+)?_logits", name)]
        if not auxiliary:
            raise UsageError(
                f"{type(model).__name__} has no auxiliary classifier to train: set task.auxiliary to 0, "
                "or model.auxiliary to True where there is such a field"
            )
        return (outputs, *auxiliary), updated

    def measure(self, outputs: jax.Array | tuple[jax.Array, ...], batch: Batch) -> Sums:
        """Return sums over a batch: logits [b, c], label [b], mask [b] (True where an example counts; optional).

        Logits behind the first ones are those of auxiliary classifiers, whose losses are summed apart.
        """
        logits, *auxiliary = outputs if isinstance(outputs, tuple) else (outputs,)
        b, c = logits.shape
        label, mask = batch["label"], counted(batch)
        loss, weight = self._loss(logits, batch)
        score = jnp.take_along_axis(logits, label[:, None], axis=1)  # [b, 1]
        rank = (~(logits <= score)).sum(axis=1)  # [b]; written so that a NaN outscores the label
        count = mask.astype(jnp.int32)
        sums = {
            "loss": loss,
            "weight": weight,
            "count": count.sum(),
            "top_k": (count * (rank < self.top_k)).sum(),
            "confusion": jnp.zeros((c, c), jnp.int32).at[label, logits.argmax(axis=1)].add(count),
        }
        if auxiliary:
            sums["auxiliary"] = jnp.stack([self._loss(each, batch)[0] for each in auxiliary]).sum()
        return sums

    def _loss(self, logits: jax.Array, batch: Batch) -> tuple[jax.Array, jax.Array]:
        """Return the sums of weighted losses and of weights, of mixed examples those of both labels."""
        loss, weight = self._weighted(logits, batch["label"], batch.get("share", 1.0), batch)
        if "other" in batch:
            more = self._weighted(logits, batch["other"], 1 - batch["share"], batch)
            loss, weight = loss + more[0], weight + more[1]
        return loss, weight

    def _weighted(
        self, logits: jax.Array, label: jax.Array, share: jax.Array | float, batch: Batch
    ) -> tuple[jax.Array, jax.Array]:
        """Return the sums of weighted losses and of weights, where `share` [b] of each example counts."""
        mask = counted(batch)
        weight = jnp.where(mask, share, jnp.float32(0))
        if self.class_weights is not None:
            weight = weight * jnp.stack([jnp.float32(w) for w in self.class_weights])[label]
        return jnp.where(mask, weight * self.losses(logits, label, batch), 0).sum(), weight.sum()

    def losses(self, logits: jax.Array, label: jax.Array, batch: Batch) -> jax.Array:
        """Return the loss of each example, [b], before it is weighed; a task built on this one may add to it."""
        return cross_entropy(logits, label, self.label_smoothing)

    def summarize(self, sums: Sums) -> dict[str, float]:
        """Return loss, accuracy, top-k accuracy and macro precision, recall and F1; of no examples, NaN."""
        found = of_confusion(sums["confusion"])
        return {
            "loss": mean(sums["loss"], sums["weight"]),
            "accuracy": found.pop("accuracy"),
            f"top_{self.top_k}_accuracy": mean(sums["top_k"], sums["count"]),
            **found,
        }

    def details(self, sums: Sums) -> dict[str, Any]:
        """Return the confusion matrix: rows are labels, columns predictions."""
        confusion = np.asarray(sums["confusion"])
        # The narrowest type that holds it: of 5,000 classes int64 would take 200 MB for each split.
        return {"confusion_matrix": confusion.astype(np.min_scalar_type(confusion.max(initial=0)))}

    def outputs_from(self, columns: Columns, batch: Batch) -> jax.Array:
        """Return `log_probability` [b, c], whose softmax are the probabilities."""
        self.require_columns(columns, "log_probability")
        return jnp.asarray(columns["log_probability"], jnp.float32)

    def predictions(self, outputs: jax.Array, batch: Batch) -> Columns:
        """Return the label and the predicted class, [b], and the probability of every class, [b, c]."""
        return {
            "label": batch["label"],
            "prediction": outputs.argmax(axis=1),
            "probability": jax.nn.softmax(outputs.astype(jnp.float32)),
        }
