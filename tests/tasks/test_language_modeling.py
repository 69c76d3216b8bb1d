import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from research.data.schema import Schema, Tokens
from research.errors import UsageError
from research.models import CNN1D, RecurrentLanguageModel, TransformerLanguageModel
from research.tasks import LanguageModeling

B, L, V = 5, 7, 11
RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(B, L, V)).astype(np.float32) * 3
TEXT = RNG.integers(0, V, (B, L + 1)).astype(np.int32)
LENGTHS = np.array([7, 3, 0, 5, 7], np.int32)
MASK = np.array([True, True, True, True, False])
BYTES = np.array([13, 4, 0, 9, 100], np.int32)
BATCH = {"tokens": TEXT[:, :-1], "targets": TEXT[:, 1:], "lengths": LENGTHS, "bytes": BYTES, "mask": MASK}
MODELS = {
    "recurrent": RecurrentLanguageModel(vocabulary=V, embedding=5, hidden=13, cell="gru"),
    "transformer": TransformerLanguageModel(
        layers=1, width=6, heads=3, vocabulary=V, positions="learned", max_length=L
    ),
}


def counted():
    """Logits and target of every token that counts."""
    places = [(row, step) for row in range(B) if MASK[row] for step in range(LENGTHS[row])]
    return [(LOGITS[place].astype(np.float64), TEXT[place[0], place[1] + 1]) for place in places]


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_metrics_by_hand(smoothing):
    task = LanguageModeling(smoothing)
    nats = [math.log(np.exp(logits).sum()) - logits[target] for logits, target in counted()]
    target = optax.smooth_labels(jax.nn.one_hot(np.array([target for _, target in counted()]), V), smoothing)
    loss = optax.softmax_cross_entropy(np.stack([logits for logits, _ in counted()]), target).mean()
    sums = jax.device_get(task.measure(jnp.asarray(LOGITS), BATCH))
    assert task.summarize(sums) == pytest.approx(
        {
            "loss": float(loss),
            "perplexity": math.exp(np.mean(nats)),
            "bits_per_byte": sum(nats) / math.log(2) / 26,
            "accuracy": np.mean([logits.argmax() == target for logits, target in counted()]),
        },
        rel=1e-5,
    )
    assert float(task.objective(sums)) == pytest.approx(float(loss), rel=1e-5)
    assert {*task.headline, task.monitor} <= task.summarize(sums).keys()


def test_what_stands_in_the_padding_changes_nothing():
    valid = MASK[:, None] & (np.arange(L)[None] < LENGTHS[:, None])
    dirty = np.where(valid[..., None], LOGITS, np.nan)
    targets = np.where(valid, BATCH["targets"], -1)
    task = LanguageModeling(0.1)
    jax.tree.map(
        np.testing.assert_array_equal,
        task.measure(jnp.asarray(dirty), {**BATCH, "targets": targets}),
        task.measure(jnp.asarray(LOGITS), BATCH),
    )


def test_of_no_tokens_the_loss_is_zero_and_the_metrics_are_no_numbers():
    task = LanguageModeling()
    sums = task.measure(jnp.asarray(LOGITS), {**BATCH, "mask": np.zeros(B, bool)})
    assert task.objective(sums) == 0
    assert np.isnan(list(task.summarize(sums).values())).all()
    assert task.summarize({**sums, "nats": 1e9, "count": 1})["perplexity"] == math.inf


@pytest.mark.parametrize("name", MODELS)
def test_predictions_go_on_as_the_model_reads(name):
    """Without randomness every token is the likeliest after all before it."""
    model, task = MODELS[name], LanguageModeling(temperature=0.0, prompt=4, continuation=9)
    variables = model.init(jax.random.key(0), BATCH["tokens"])
    params = jax.tree.map(lambda leaf: leaf * 4, variables["params"])
    found = jax.jit(lambda params: task.predict(model, params, {}, BATCH))(params)
    read = jax.jit(lambda tokens: model.apply({"params": params}, tokens))
    assert found["prediction"].shape == (B, 9)  # more than an example has room for
    bounded, half = hasattr(model, "max_length"), (L + 1) // 2
    width = L if bounded else L + 9
    for row, length in enumerate(np.minimum(LENGTHS, 4)):
        if not length:
            continue
        np.testing.assert_array_equal(found["prompt"][row], [*TEXT[row, :length], *[-1] * (4 - length)])
        rest = TEXT[row, length : LENGTHS[row] + 1]
        np.testing.assert_array_equal(found["target"][row], [*rest, *[-1] * (9 - len(rest))])
        seen, left = list(TEXT[row, :length]), L + 1 - 4
        for token in found["prediction"][row]:
            if bounded and not left:
                seen, left = seen[-half:], L + 1 - half
            logits = read(np.array([seen + [0] * (width - len(seen))]))[0, len(seen) - 1]
            assert token == logits.argmax()
            seen.append(int(token))
            left -= 1


@pytest.mark.parametrize("name", MODELS)
def test_prompts_are_no_longer_than_examples(name):
    model, task = MODELS[name], LanguageModeling(prompt=50, continuation=2)
    params = model.init(jax.random.key(0), BATCH["tokens"])["params"]
    found = jax.jit(lambda params: task.predict(model, params, {}, BATCH))(params)
    assert [found[column].shape for column in ("prompt", "prediction", "target")] == [(B, L), (B, 2), (B, 2)]
    assert found["target"][0].tolist() == [TEXT[0, -1], -1] and (found["prompt"][0] == TEXT[0, :-1]).all()


def test_what_is_drawn_is_a_function_of_the_row(tmp_path):
    model, task = MODELS["recurrent"], LanguageModeling(prompt=2, continuation=6, temperature=5.0)
    params = model.init(jax.random.key(0), BATCH["tokens"])["params"]
    predict = jax.jit(lambda batch: task.predict(model, params, {}, batch)["prediction"])
    alike = {**BATCH, "tokens": np.tile(BATCH["tokens"][:1], (B, 1))}
    whole = predict({**alike, "row": np.arange(B)})
    assert len({tuple(row) for row in whole.tolist()}) == B
    np.testing.assert_array_equal(predict(alike), whole)
    part = {name: entry[3:] for name, entry in alike.items()}
    np.testing.assert_array_equal(predict({**part, "row": np.array([3, 4])}), whole[3:])
    for options in ({"top_k": 1}, {"top_p": 1e-6}, {"temperature": 1e-5}):
        certain = LanguageModeling(prompt=2, continuation=6, **options)
        sure = jax.jit(lambda batch, certain=certain: certain.predict(model, params, {}, batch)["prediction"])(alike)
        assert len({tuple(row) for row in sure[np.array([0, 3, 4])].tolist()}) == 1, options

    def readable(columns):
        return {
            name: np.array(["".join("abcdefghijk"[i] for i in row if i >= 0) for row in column])
            for name, column in columns.items()
        }

    assert task.illustrate(model, params, {}, BATCH, readable, tmp_path) == {
        "samples.txt": "texts that the model wrote"
    }
    text = (tmp_path / "samples.txt").read_text()
    columns = readable(jax.device_get(jax.jit(lambda: task.predict(model, params, {}, BATCH))()))
    for prompt, prediction in zip(columns["prompt"], columns["prediction"], strict=True):
        assert f"\n{prompt}\n" in text and f"\n{prediction}\n" in text
    task.illustrate(model, params, {}, BATCH, lambda columns: columns, tmp_path)
    assert f"\n{TEXT[0, 0]} {TEXT[0, 1]}\n" in (tmp_path / "samples.txt").read_text()


def test_what_does_not_fit_is_refused():
    task, outputs = LanguageModeling(), jax.ShapeDtypeStruct((B, L, V), jnp.float32)
    task.check(Schema({"targets": Tokens(V)}), outputs)
    task.check(Schema({"targets": Tokens(V - 1)}), outputs)  # a vocabulary may be padded
    with pytest.raises(
        UsageError, match="gives 11 logits, but the vocabulary of the data has 12 tokens: set model.voc"
    ):
        task.check(Schema({"targets": Tokens(V + 1)}), outputs)
    with pytest.raises(UsageError, match=r"LanguageModeling reads outputs \[b, l, vocabulary\]"):
        task.check(Schema({}), jax.ShapeDtypeStruct((B, V), jnp.float32))
    with pytest.raises(UsageError, match="CNN1D cannot write"):
        task.predict(CNN1D(), {}, {}, BATCH)
    with pytest.raises(UsageError, match="LanguageModeling needs tokens, but the data gives bytes, lengths, targets:"):
        task.predict(CNN1D(), {}, {}, {name: BATCH[name] for name in ("targets", "lengths", "bytes")})
