"""Several yes-or-no questions about each example; binary classification is one of them."""

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from research.data.schema import Labels, Schema
from research.errors import UsageError
from research.fields import Fraction, NonNegative
from research.tasks.losses.elementwise import binary_cross_entropy
from research.tasks.metrics.agreement import of_counts
from research.tasks.metrics.quotients import mean, mean_of
from research.tasks.metrics.ranking import area_under_curve
from research.tasks.task import Batch, Columns, Sums, Task, counted

MISSING = -1


@dataclasses.dataclass(frozen=True)
class MultiLabel(Task):
    """Sigmoid cross-entropy of logits [b, k] and `labels` [b, k]: 1, 0, or -1 where missing, which is left out.

    The loss is sum(w[j] * loss) / sum(w[j]) over all labels that are there. Metrics: loss; accuracy, over labels;
    exact_match, the share of examples with some label whose labels are all right; precision, recall and F1, micro (over
    labels alike), macro (mean over the k) and weighted (by how often each is 1), a quotient 0 / 0 counting as 0; and
    macro_auc, the mean area under the receiver operating characteristic of those labels that have both answers. It is
    exact over all examples, ties counting half: Hanley and McNeil (1982).
    """

    monitor: ClassVar[str] = "macro_f1"
    maximize: ClassVar[bool] = True
    headline: ClassVar[tuple[str, ...]] = ("loss", "accuracy")
    required: ClassVar[tuple[str, ...]] = ("labels",)
    concatenated: ClassVar[tuple[str, ...]] = ("scores", "answers")

    threshold: Fraction = 0.5
    """Probability from which on the answer is yes."""
    label_weights: tuple[NonNegative, ...] | None = None
    """Weight of each label in the loss; None weighs all alike."""
    positive_weights: tuple[NonNegative, ...] | None = None
    """Factor of each label's loss where it is 1, against its being rare; None weighs both answers alike."""

    def width(self, schema: Schema) -> int | None:
        """Return the number of labels."""
        labels = schema.entries.get("labels")
        return labels.labels if isinstance(labels, Labels) else None

    def check(self, schema: Schema, outputs: Any) -> None:
        """Raise unless there is one logit per label, and one weight per label where weights are given."""
        self.require_layout(outputs, "[b, labels]")
        width, labels = outputs.shape[-1], schema.entries.get("labels")
        if isinstance(labels, Labels) and width != labels.labels:
            raise UsageError(
                f"the model gives {width} logits, but the data has {labels.labels} labels: set model.classes"
            )
        for name in ("label_weights", "positive_weights"):
            weights = getattr(self, name)
            if weights is not None and len(weights) != width:
                raise UsageError(f"task.{name} has {len(weights)} weights for {width} labels")
        if self.label_weights is not None and not any(self.label_weights):
            raise UsageError("task.label_weights are all zero: nothing would be learned")

    def measure(self, outputs: jax.Array, batch: Batch) -> Sums:
        """Return sums over a batch, those by label [k], and all scores: logits and labels [b, k], mask [b] optional."""
        labels = batch["labels"]
        there = (labels != MISSING) & counted(batch)[:, None]  # [b, k]
        weight = there * _vector(self.label_weights, labels.shape[1])[None]
        loss = binary_cross_entropy(outputs, labels, _vector(self.positive_weights, labels.shape[1])[None])
        guess, answer = self._probability(outputs) >= self.threshold, labels == 1
        right = there & (guess == answer)
        known = there.any(axis=1)
        return {
            "loss": jnp.where(there, weight * loss, 0).sum(),
            "weight": weight.sum(),
            "count": there.sum(axis=0, dtype=jnp.int32),
            "correct": right.sum(axis=0, dtype=jnp.int32),
            "hits": (right & answer).sum(axis=0, dtype=jnp.int32),
            "guesses": (there & guess).sum(axis=0, dtype=jnp.int32),
            "answered": (there & answer).sum(axis=0, dtype=jnp.int32),
            "examples": known.sum(dtype=jnp.int32),
            "exact": (known & (right | ~there).all(axis=1)).sum(dtype=jnp.int32),
            "scores": outputs.astype(jnp.float32),
            "answers": jnp.where(there, labels, MISSING),
        }

    def summarize(self, sums: Sums) -> dict[str, float]:
        """Return loss, accuracy, exact match, precision, recall and F1 in three means, and macro AUC; of none, NaN."""
        return {
            "loss": mean(sums["loss"], sums["weight"]),
            "accuracy": mean(np.sum(sums["correct"]), np.sum(sums["count"])),
            "exact_match": mean(sums["exact"], sums["examples"]),
            **of_counts(sums["hits"], sums["guesses"], sums["answered"], sums["count"]),
            "macro_auc": mean_of(_areas(sums)),
        }

    def details(self, sums: Sums) -> dict[str, Any]:
        """Return accuracy and AUC of each label, null where it has no answers, or only one kind of them."""
        accuracy = [mean(correct, count) for correct, count in zip(sums["correct"], sums["count"], strict=True)]
        return {"accuracy": accuracy, "auc": _areas(sums)}

    def predictions(self, outputs: jax.Array, batch: Batch) -> Columns:
        """Return `labels`, -1 where missing, `prediction` (0 or 1) and `probability`, [b, k] each."""
        probability = self._probability(outputs)
        return {
            "labels": batch["labels"],
            "prediction": (probability >= self.threshold).astype(jnp.int32),
            "probability": probability,
        }

    def _probability(self, outputs: jax.Array) -> jax.Array:
        """Return the probabilities that the answers are yes, [b, k]."""
        return jax.nn.sigmoid(outputs.astype(jnp.float32))


def _areas(sums: Sums) -> np.ndarray:
    """Return the area under the curve of each label, [k]."""
    scores, answers = np.asarray(sums["scores"]), np.asarray(sums["answers"])
    there = answers != MISSING
    columns = range(answers.shape[1])
    return np.array([area_under_curve(scores[there[:, j], j], answers[there[:, j], j]) for j in columns])


def _vector(weights: tuple[Any, ...] | None, k: int) -> jax.Array:
    """Return weights [k], ones where there are none."""
    return jnp.ones(k) if weights is None else jnp.stack([jnp.float32(weight) for weight in weights])
