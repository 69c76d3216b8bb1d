"""Language modeling: the next token."""

import dataclasses
import math
from pathlib import Path
from typing import Annotated, Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from research.data.schema import Schema, Tokens
from research.errors import UsageError
from research.fields import Range, Rate, Size, Switch
from research.layers.sequences.sampling import generate, generate_beyond
from research.models.model import BoundedWriter, Writer
from research.tasks.losses.elementwise import cross_entropy, is_likeliest
from research.tasks.metrics.quotients import mean, perplexity
from research.tasks.spelling import NOTHING, spell
from research.tasks.task import Batch, Columns, Readable, Sums, Task, counted, counted_steps

SHOWN = 8  # examples in samples.txt


@dataclasses.dataclass(frozen=True)
class LanguageModeling(Task):
    """Cross-entropy of logits [b, l, v] and the next tokens `targets` [b, l], over the positions before `lengths` [b].

    Metrics are over all tokens alike: loss, which is minimised and in nats per token; without label smoothing,
    perplexity, bits per byte (of the UTF-8 text behind the targets, `bytes` [b]; so tokenizers can be compared) and
    accuracy. The model is shown no lengths: causality hides the padding.

    To predict, the model reads the first tokens of an example and writes on at random, with a key that is a function of
    the row's number alone. What goes beyond the length of the data's examples, a Transformer writes in view of at most
    as many tokens; a recurrent model remembers.
    """

    headline: ClassVar[tuple[str, ...]] = ("loss", "bits_per_byte")
    required: ClassVar[tuple[str, ...]] = ("targets", "lengths", "bytes")

    label_smoothing: Rate = 0.0
    """Share of the target spread evenly over all tokens."""
    prompt: Size = 32
    """Tokens that are read before predictions are written."""
    continuation: Size = 160
    """Tokens that predictions write."""
    temperature: Switch = 0.8
    """Divides the logits before a token is drawn; 0 takes the likeliest."""
    top_k: Size | None = None
    """Draw among this many likeliest tokens; None among all."""
    top_p: Annotated[float, Range(0.0, 1.0, open_start=True)] | None = None
    """Draw among the fewest likeliest tokens that reach this probability; None among all."""

    def check(self, schema: Schema, outputs: Any) -> None:
        """Raise unless there is a logit for every token of the vocabulary at every position."""
        self.require_layout(outputs, "[b, l, vocabulary]")
        width, targets = outputs.shape[-1], schema.entries.get("targets")
        if isinstance(targets, Tokens) and width < targets.ids:
            raise UsageError(
                f"the model gives {width} logits, but the vocabulary of the data has {targets.ids} tokens: "
                "set model.vocabulary"
            )

    def measure(self, outputs: jax.Array, batch: Batch) -> Sums:
        """Return sums over a batch: logits [b, l, v], targets [b, l], lengths and bytes [b], mask [b] (optional)."""
        targets = batch["targets"]
        valid = counted_steps(batch, batch["lengths"], targets.shape[1])  # [b, l]
        nats = jnp.where(valid, cross_entropy(outputs, targets), 0).sum()
        smoothed = jnp.where(valid, cross_entropy(outputs, targets, self.label_smoothing), 0).sum()
        return {
            "loss": smoothed,
            "nats": nats,
            "weight": valid.sum(dtype=jnp.float32),
            "count": valid.sum(dtype=jnp.int32),
            "bytes": jnp.where(counted(batch), batch["bytes"], 0).sum(dtype=jnp.int32),
            "correct": (valid & is_likeliest(outputs, targets)).sum(dtype=jnp.int32),
        }

    def summarize(self, sums: Sums) -> dict[str, float]:
        """Return loss, perplexity, bits per byte and accuracy; of no tokens, NaN."""
        return {
            "loss": mean(sums["loss"], sums["weight"]),
            "perplexity": perplexity(mean(sums["nats"], sums["count"])),
            "bits_per_byte": mean(sums["nats"], sums["bytes"]) / math.log(2),
            "accuracy": mean(sums["correct"], sums["count"]),
        }

    def outputs_from(self, columns: Columns, batch: Batch) -> jax.Array:
        """Return `log_probability` [b, l, v] of each token as the next one."""
        self.require_columns(columns, "log_probability")
        return jnp.asarray(columns["log_probability"], jnp.float32)

    def predict(self, model: nn.Module, params: Any, variables: Any, batch: Batch) -> Columns:
        """Return `prompt`, `prediction` and `target`, how the text continues: token ids, -1 where there is no token.

        `row` [b], if the batch has it, numbers the examples. Of texts that share a window, the first is continued.

        Raises:
            UsageError: the batch lacks an entry, or the model cannot write.
        """
        self.require(batch, "tokens", *self.required)
        if not isinstance(model, Writer):
            raise UsageError(f"{type(model).__name__} cannot write: it has no start and step; choose a language model")
        tokens, targets = batch["tokens"], batch["targets"]
        b, l = tokens.shape
        shown = min(self.prompt, l)
        there = batch["lengths"] if "documents" not in batch else (batch["documents"] == 1).sum(axis=1)
        lengths = jnp.clip(there, 1, shown)
        keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(0), batch.get("row", jnp.arange(b)))
        drawn: dict[str, Any] = {"temperature": self.temperature, "k": self.top_k, "p": self.top_p}
        writer, steps = model.bind({"params": params, **variables}), self.continuation
        if shown + steps - 1 > l and isinstance(model, BoundedWriter):
            written = generate_beyond(writer.start, writer.step, tokens[:, :shown], lengths, keys, steps, l, **drawn)
        else:
            carry, logits = writer.start({"tokens": tokens[:, :shown], "lengths": lengths}, shown + steps - 1)
            written = generate(writer.step, carry, logits, keys, steps, **drawn)
        following = lengths[:, None] - 1 + jnp.arange(steps)[None]  # positions of the targets after the prompt
        goes_on = jnp.take_along_axis(targets, jnp.minimum(following, l - 1), axis=1)
        return {
            "prompt": jnp.where(jnp.arange(shown)[None] < lengths[:, None], tokens[:, :shown], NOTHING),
            "prediction": written,
            "target": jnp.where(following < there[:, None], goes_on, NOTHING),  # as far as the example goes
        }

    def illustrate(
        self, model: nn.Module, params: Any, variables: Any, batch: Batch, readable: Readable, folder: Path
    ) -> dict[str, str]:
        """Write `samples.txt`, a few beginnings of texts and how the model continues."""
        some = {name: entry[:SHOWN] for name, entry in batch.items()}
        predict = jax.jit(lambda params, variables, batch: self.predict(model, params, variables, batch))
        columns = readable(jax.device_get(predict(params, variables, some)))
        blocks = [
            f"Prompt {index}\n{spell(prompt)}\n\nContinuation {index}\n{spell(prediction)}\n"
            for index, (prompt, prediction) in enumerate(zip(columns["prompt"], columns["prediction"], strict=True))
        ]
        rule = "\n" + 79 * "-" + "\n"
        (folder / "samples.txt").write_text(rule.join(blocks), encoding="utf-8")
        return {"samples.txt": "texts that the model wrote"}
