"""One sequence in, another out."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from research.data.schema import Schema, Tokens
from research.errors import UsageError
from research.fields import NonNegative, Rate, Size
from research.layers.sequences.decoding import beam_search, greedy
from research.models.model import Writer
from research.tasks.losses.elementwise import cross_entropy, is_likeliest
from research.tasks.metrics.bleu import bleu, ngram_sums, scorer
from research.tasks.metrics.quotients import mean, perplexity
from research.tasks.metrics.texts import TextScore, text_scores
from research.tasks.pictures import draw_alignments
from research.tasks.spelling import spell
from research.tasks.task import Batch, Columns, Readable, Sums, Task, counted, counted_steps
from research.tokens import END, PADDING, START, UNKNOWN

SHOWN = 4  # examples in alignment.png


class Written(NamedTuple):
    """Targets without their end: tokens [b, t], padding after each of the lengths [b]."""

    tokens: jax.Array
    lengths: jax.Array


@dataclasses.dataclass(frozen=True)
class SequenceToSequence(Task):
    """Cross-entropy of logits [b, t, v] and `labels` [b, t], the target with its end, before `label_lengths` [b].

    In training the model reads the right beginning of the target (`targets` [b, t]: teacher forcing). Metrics over all
    tokens alike: loss, which is minimised and in nats per token; without label smoothing, perplexity and token
    accuracy. An evaluation also lets the model write from the source alone, up to t tokens, and adds the share of
    examples where that is exactly the target and corpus BLEU over tokens (sacrebleu's, 0 to 100).
    """

    monitor: ClassVar[str] = "exact_match"
    maximize: ClassVar[bool] = True
    headline: ClassVar[tuple[str, ...]] = ("loss", "token_accuracy")
    required: ClassVar[tuple[str, ...]] = ("labels", "label_lengths")

    label_smoothing: Rate = 0.0
    """Share of the target spread evenly over all tokens."""
    beams: Size = 1
    """Beginnings that are kept while writing; 1 always takes the likeliest token."""
    length_penalty: NonNegative = 0.0
    """With beams, how much longer targets are favoured: the exponent alpha of Wu et al. (2016)."""

    def check(self, schema: Schema, outputs: Any) -> None:
        """Raise unless there is a logit for every token of the target vocabulary, and BLEU can be computed."""
        self.require_layout(outputs, "[b, t, vocabulary]")
        width, labels = outputs.shape[-1], schema.entries.get("labels")
        if isinstance(labels, Tokens) and width < labels.ids:
            raise UsageError(
                f"the model gives {width} logits, but the target vocabulary of the data has {labels.ids} tokens: "
                "set model.target_vocabulary"
            )
        scorer()

    def measure(self, outputs: jax.Array, batch: Batch) -> Sums:
        """Return sums over a batch: logits [b, t, v], labels [b, t], label_lengths [b], mask [b] (optional)."""
        labels = batch["labels"]
        valid = counted_steps(batch, batch["label_lengths"], labels.shape[1])  # [b, t]
        return {
            "loss": jnp.where(valid, cross_entropy(outputs, labels, self.label_smoothing), 0).sum(),
            "nats": jnp.where(valid, cross_entropy(outputs, labels), 0).sum(),
            "weight": valid.sum(dtype=jnp.float32),
            "count": valid.sum(dtype=jnp.int32),
            "correct": (valid & (labels != UNKNOWN) & is_likeliest(outputs, labels)).sum(dtype=jnp.int32),
        }

    def evaluate(self, model: nn.Module, params: Any, variables: Any, batch: Batch) -> Sums:
        """Return the sums of `measure`, and of what the model writes: exact matches and n-grams."""
        sums = super().evaluate(model, params, variables, batch)
        mask, target = counted(batch), _target(batch)
        written, _ = self.write(model, params, variables, batch)
        # A target that was cut to fit ends with the unknown token, which is no right answer.
        same = (written.tokens == target.tokens) & (target.tokens != UNKNOWN)
        exact = mask & (written.lengths == target.lengths) & same.all(axis=1)
        written, target = (text._replace(lengths=jnp.where(mask, text.lengths, 0)) for text in (written, target))
        return {
            **sums,
            **ngram_sums(*written, *target),
            "exact": exact.sum(dtype=jnp.int32),
            "examples": mask.sum(dtype=jnp.int32),
        }

    def summarize(self, sums: Sums) -> dict[str, float]:
        """Return loss, perplexity and token accuracy; of an evaluation also exact match and BLEU. Of nothing, NaN."""
        metrics = {
            "loss": mean(sums["loss"], sums["weight"]),
            "perplexity": perplexity(mean(sums["nats"], sums["count"])),
            "token_accuracy": mean(sums["correct"], sums["count"]),
        }
        if "exact" not in sums:
            return metrics
        return {**metrics, "exact_match": mean(sums["exact"], sums["examples"]), "bleu": bleu(sums)}

    def write(self, model: nn.Module, params: Any, variables: Any, batch: Batch) -> tuple[Written, jax.Array]:
        """Return what the model writes from the source alone, and its score [b], greedily or by beam search.

        Raises:
            UsageError: the model cannot write, or the batch has no source.
        """
        self.require(batch, "tokens", "lengths")
        if not isinstance(model, Writer):
            raise UsageError(
                f"{type(model).__name__} cannot write: it has no start and step; choose an encoder-decoder"
            )
        b, steps = batch["labels"].shape
        writer, start = model.bind({"params": params, **variables}), jnp.full(b, START, jnp.int32)
        carry = writer.start({"tokens": batch["tokens"], "lengths": batch["lengths"]}, steps)
        if self.beams == 1:
            tokens, _, scores = greedy(writer.step, carry, start, END, steps)
        else:
            found = beam_search(writer.step, carry, start, END, steps, self.beams, self.length_penalty)
            tokens, _, scores = jax.tree.map(lambda leaf: leaf[:, 0], found)
        ended = tokens == END  # from the first end on
        return Written(jnp.where(ended, PADDING, tokens), (~ended).sum(axis=1)), scores

    def predict(self, model: nn.Module, params: Any, variables: Any, batch: Batch) -> Columns:
        """Return `source`, `target` and `prediction` as token ids, padded, and the `score` of the prediction.

        The score is the log-probability with that of the end, over the length penalty where there are beams.
        """
        self.require(batch, "tokens", "lengths", *self.required)
        written, scores = self.write(model, params, variables, batch)
        source = batch["tokens"]
        counts = jnp.arange(source.shape[1])[None] < batch["lengths"][:, None]
        return {
            "source": jnp.where(counts, source, PADDING),
            "target": _target(batch).tokens,
            "prediction": written.tokens,
            "score": scores,
        }

    def text_scores(self, columns: Columns) -> dict[str, TextScore]:
        """Return corpus BLEU and chrF of what is written, where the data turns token ids into text.

        Other than the metrics, they cut texts into tokens as sacrebleu does, so that models with other tokenizers can
        be compared; a target is what its tokens spell, cut or unknown where they are.
        """
        written, targets = columns["prediction"], columns["target"]
        return text_scores(written.tolist(), targets.tolist()) if written.dtype.kind == "U" else {}

    def illustrate(
        self, model: nn.Module, params: Any, variables: Any, batch: Batch, readable: Readable, folder: Path
    ) -> dict[str, str]:
        """Draw `alignment.png`: what the decoder looked at while it wrote; nothing for a model without attention."""
        some = {name: entry[:SHOWN] for name, entry in batch.items()}

        def look(params: Any, variables: Any, batch: Batch) -> tuple[Written, jax.Array | None]:
            """Return what was written, and the weights [b, t, s] of a pass over it."""
            written, _ = self.write(model, params, variables, batch)
            read = jnp.pad(written.tokens[:, :-1], ((0, 0), (1, 0)), constant_values=START)
            inputs = {**self.inputs(model, batch), "targets": read}
            _, state = model.apply({"params": params, **variables}, inputs, mutable=["intermediates"])
            return written, _alignment(state.get("intermediates", {}))

        written, weights = jax.device_get(jax.jit(look)(params, variables, some))
        if weights is None:
            return {}
        alignments = []
        for row, length in enumerate(written.lengths):
            source = np.asarray(some["tokens"][row, : int(some["lengths"][row])])
            columns = {"source": source[:, None], "prediction": written.tokens[row, :length, None]}
            names = {name: [spell(token) for token in column] for name, column in readable(columns).items()}
            alignments.append((weights[row, :length, : len(source)], names["prediction"], names["source"]))
        draw_alignments(alignments, folder / "alignment.png")
        return {"alignment.png": "what the decoder looked at in the source for each token it wrote"}


def _target(batch: Batch) -> Written:
    """Return the right targets, without their end."""
    labels = batch["labels"]
    places = jnp.arange(labels.shape[1])[None]
    lengths = ((places < batch["label_lengths"][:, None]) & (labels != END)).sum(axis=1)
    return Written(jnp.where(places < lengths[:, None], labels, PADDING), lengths)


def _alignment(intermediates: Mapping[str, Any]) -> jax.Array | None:
    """Return the weights [b, t, s] of a decoder over the source, of its last block and the mean of its heads."""
    if "alignment_weights" in intermediates:
        return intermediates["alignment_weights"][0]
    blocks = intermediates.get("decoder", {})
    if "layers" in blocks:  # one scanned block, with an axis of layers
        return blocks["layers"]["cross_attention"]["weights"][0][-1].mean(axis=1)
    names = [name for name in blocks if name.startswith("layer_") and "cross_attention" in blocks[name]]
    if not names:
        return None
    last = max(names, key=lambda name: int(name.removeprefix("layer_")))
    return blocks[last]["cross_attention"]["weights"][0].mean(axis=1)
