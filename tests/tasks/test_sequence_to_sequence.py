import builtins
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import sacrebleu
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments import dates_seq2seq
from research import cli
from research.data.schema import Schema, Tokens
from research.errors import UsageError
from research.experiment import RunOptions, replace
from research.layers.sequences.decoding import beam_search
from research.models import CNN1D, Seq2Seq, TransformerSeq2Seq
from research.tasks import SequenceToSequence
from research.tasks.metrics.bleu import bleu, ngram_sums
from research.tokens import END, PADDING, START, UNKNOWN
from research.training.initialization.beginning import begin

B, S, T, V = 5, 7, 6, 11
RNG = np.random.default_rng(0)
LABEL_LENGTHS = np.array([6, 3, 1, 5, 2], np.int32)
LABELS = np.zeros((B, T), np.int32)
for row, length in enumerate(LABEL_LENGTHS):
    LABELS[row, :length] = [*RNG.integers(5, V, length - 1), END]
BATCH = {
    "tokens": RNG.integers(5, V, (B, S)).astype(np.int32),
    "lengths": np.array([7, 2, 5, 1, 4], np.int32),
    "targets": np.pad(LABELS[:, :-1], ((0, 0), (1, 0)), constant_values=START),
    "labels": LABELS,
    "label_lengths": LABEL_LENGTHS,
}
MASK = np.array([True, True, False, True, True])
RECURRENT = Seq2Seq(source_vocabulary=V, target_vocabulary=V, embedding=3, hidden=5)
TRANSFORMER = TransformerSeq2Seq(layers=2, width=6, heads=3, source_vocabulary=V)


def randomized(model, seed=0):
    """Parameters large enough for the model to write different things."""
    shapes = jax.eval_shape(model.init, jax.random.key(0), {name: BATCH[name] for name in ("tokens", "targets")})
    generator = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: jnp.asarray(generator.normal(size=leaf.shape), leaf.dtype), shapes)["params"]


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_teacher_forcing_by_hand(smoothing):
    logits = RNG.normal(size=(B, T, V)).astype(np.float32) * 3
    task = SequenceToSequence(smoothing)
    valid = MASK[:, None] & (np.arange(T)[None] < LABEL_LENGTHS[:, None])
    smooth = optax.smooth_labels(jax.nn.one_hot(LABELS[valid], V), smoothing)
    nats = optax.softmax_cross_entropy_with_integer_labels(logits[valid], LABELS[valid]).mean()
    dirty = np.where(valid[..., None], logits, np.nan)
    sums = task.measure(jnp.asarray(dirty), {**BATCH, "mask": MASK})
    assert task.summarize(sums) == pytest.approx(
        {
            "loss": float(optax.softmax_cross_entropy(logits[valid], smooth).mean()),
            "perplexity": math.exp(nats),
            "token_accuracy": (logits.argmax(-1) == LABELS)[valid].mean(),
        },
        rel=1e-5,
    )
    assert set(task.headline) <= task.summarize(sums).keys()  # what training reports


class Oracle:
    """A model that writes the rows it is given, and wishes for the end after them."""

    def __init__(self, rows):
        self.rows = np.array([[*row, *[END] * (T - len(row))] for row in rows])

    def bind(self, variables):
        return self

    def apply(self, variables, inputs, train=False):
        return jax.nn.one_hot(self.rows, V) * 9

    def start(self, inputs, capacity):
        assert set(inputs) == {"tokens", "lengths"} and capacity == T
        return jnp.asarray(self.rows), jnp.zeros(len(self.rows), int)

    def step(self, carry, tokens):
        rows, index = carry
        return (rows, index + 1), jax.nn.one_hot(jnp.take_along_axis(rows, index[:, None], axis=1)[:, 0], V) * 9


def texts():
    """The targets without their end."""
    return [row[: length - 1].tolist() for row, length in zip(LABELS, LABEL_LENGTHS, strict=True)]


def test_exact_match_and_bleu_of_what_is_written():
    right = texts()
    written = [right[0], right[1][:-1], [7], [*right[3][:3], PADDING], right[4]]
    task = SequenceToSequence()
    found = task.summarize(task.evaluate(Oracle(written), {}, {}, {**BATCH, "mask": MASK}))
    kept = [row for row in range(B) if MASK[row]]
    spaced = lambda rows: [" ".join(map(str, rows[row])) for row in kept]  # noqa: E731
    score = sacrebleu.corpus_bleu(spaced(written), [spaced(right)], tokenize="none", force=True).score
    assert found["exact_match"] == 2 / 4 and found["bleu"] == pytest.approx(score) and 0 < score < 100
    assert task.monitor in found and task.maximize
    every = task.evaluate(Oracle(right), {}, {}, BATCH)
    assert task.summarize(every)["exact_match"] == 1 and task.summarize(every)["bleu"] == pytest.approx(100)
    for more in (6, PADDING):
        longer = [[*row, more] for row in right[1:]]
        assert task.evaluate(Oracle([right[0], *longer]), {}, {}, BATCH)["exact"] == 1
    cut = np.where((np.arange(B) == 1)[:, None] & (LABELS[1, 0] == LABELS), UNKNOWN, LABELS)
    echoed = [
        [UNKNOWN if row == 1 and token == LABELS[1, 0] else token for token in text] for row, text in enumerate(right)
    ]
    assert task.evaluate(Oracle(echoed), {}, {}, {**BATCH, "labels": cut})["exact"] == B - 1
    nothing = task.evaluate(Oracle(right), {}, {}, {**BATCH, "mask": np.zeros(B, bool)})
    assert np.isnan(list(task.summarize(nothing).values())).all() and task.objective(nothing) == 0


@pytest.mark.fault("F37")
def test_unknown_tokens_match_none():
    """Nor each other: what the two stand for may differ."""
    rows, lengths = np.array([[5, UNKNOWN, 6, 7]]), np.array([4])
    sums = jax.device_get(ngram_sums(rows, lengths, rows, lengths))
    assert sums["matches"].tolist() == [3, 1, 0, 0] and sums["ngrams"].tolist() == [4, 3, 2, 1]
    logits = jax.nn.one_hot(rows, V) * 9
    counted = SequenceToSequence().measure(logits, {"labels": rows, "label_lengths": lengths})
    assert counted["correct"] == 3 and counted["count"] == 4


ROWS = st.lists(st.lists(st.integers(5, 7), max_size=9), min_size=3, max_size=3)
SUMS = jax.jit(ngram_sums)


@given(ROWS, ROWS)
@settings(max_examples=40)
def test_bleu_equals_that_of_sacrebleu(written, right):
    arrays = []
    for rows in (written, right):
        arrays += [np.array([[*row, *[5] * (9 - len(row))] for row in rows]), np.array([len(row) for row in rows])]
    found = bleu(jax.device_get(SUMS(*arrays)))
    lines = [[" ".join(map(str, row)) for row in rows] for rows in (written, right)]
    expected = sacrebleu.corpus_bleu(lines[0], [lines[1]], tokenize="none", force=True).score
    assert found == pytest.approx(expected) if any(map(len, right)) else math.isnan(found)


def test_bleu_of_short_rows_and_without_its_package(monkeypatch):
    short = jax.device_get(ngram_sums(*[np.array([[5, 6]]), np.array([2])] * 2))
    assert short["matches"].tolist() == [2, 1, 0, 0] == short["ngrams"].tolist()
    plain = builtins.__import__

    def without(name, *rest, **more):
        if name.startswith("sacrebleu"):
            raise ImportError(name)
        return plain(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    outputs = jax.ShapeDtypeStruct((B, T, V), jnp.float32)
    with pytest.raises(UsageError, match=r'BLEU needs sacrebleu: pip install "ceteris-research\[text\]"'):
        SequenceToSequence().check(Schema({}), outputs)


@pytest.mark.parametrize("model", [RECURRENT, TRANSFORMER], ids=["recurrent", "transformer"])
@pytest.mark.parametrize("beams", [1, 3])
def test_predictions_are_what_is_likeliest(model, beams):
    """Written as by `greedy` or `beam_search`, and scored as teacher forcing says."""
    model = model.clone(layers=1)
    task, params = SequenceToSequence(beams=beams, length_penalty=0.6), randomized(model)
    alpha = 0.6 if beams > 1 else 0.0

    @jax.jit
    def everything(params):
        bound = model.bind({"params": params})
        carry = bound.start({"tokens": BATCH["tokens"], "lengths": BATCH["lengths"]}, T)
        best = beam_search(bound.step, carry, jnp.full(B, START), END, T, beams, alpha)
        sums = task.evaluate(model, params, {}, BATCH)
        return task.predict(model, params, {}, BATCH), sums["exact"], best.tokens[:, 0]

    found, exact, tokens = jax.device_get(everything(params))
    np.testing.assert_array_equal(found["source"][1], [*BATCH["tokens"][1, :2], *[PADDING] * (S - 2)])
    np.testing.assert_array_equal(found["target"], np.where(LABELS == END, PADDING, LABELS))
    assert exact == (found["prediction"] == found["target"]).all(1).sum()

    def scored(tokens):
        """Log-probability of rows that continue with ends, up to and with the first."""
        targets = np.pad(tokens[:, :-1], ((0, 0), (1, 0)), constant_values=START)
        logits = jax.nn.log_softmax(jax.jit(model.apply)({"params": params}, {**BATCH, "targets": targets}))
        each = np.take_along_axis(np.asarray(logits), tokens[..., None], axis=-1)[..., 0]
        lengths = np.minimum((tokens != END).sum(1) + 1, T)
        return np.where(np.arange(T)[None] < lengths[:, None], each, 0).sum(1), lengths

    np.testing.assert_array_equal(found["prediction"], np.where(tokens == END, PADDING, tokens))
    score, lengths = scored(tokens)
    np.testing.assert_allclose(found["score"], score / ((5 + lengths) / 6) ** alpha, rtol=1e-4)


@pytest.mark.slow
def test_the_alignment_is_drawn_where_there_is_attention(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr("research.tasks.sequence_to_sequence.draw_alignments", lambda *found: drawn.append(found))
    task = SequenceToSequence()

    def readable(columns):
        return {name: np.array([chr(96 + row[0]) for row in column]) for name, column in columns.items()}

    for model in (RECURRENT, TRANSFORMER, TRANSFORMER.clone(scan=True)):
        params = randomized(model)
        assert task.illustrate(model, params, {}, BATCH, readable, tmp_path).keys() == {"alignment.png"}
        ((alignments, path),) = drawn
        drawn.clear()
        assert path == tmp_path / "alignment.png" and len(alignments) == 4

        @jax.jit
        def look(params, model=model):
            tokens = task.predict(model, params, {}, BATCH)["prediction"]
            targets = jnp.pad(tokens[:, :-1], ((0, 0), (1, 0)), constant_values=START)
            _, state = model.apply({"params": params}, {**BATCH, "targets": targets}, mutable=["intermediates"])
            return tokens, state["intermediates"]

        tokens, sown = look(params)
        if model is RECURRENT:
            expected = sown["alignment_weights"][0]
        elif model is TRANSFORMER:
            expected = sown["decoder"]["layer_1"]["cross_attention"]["weights"][0].mean(1)
        else:
            expected = sown["decoder"]["layers"]["cross_attention"]["weights"][0][1].mean(1)
        for row, (weights, written, source) in enumerate(alignments):
            length = BATCH["lengths"][row]
            assert source == [chr(96 + token) for token in BATCH["tokens"][row, :length]]
            assert written == [chr(96 + int(token)) for token in tokens[row][: len(written)]]
            assert weights.shape == (len(written), length)
            np.testing.assert_allclose(weights, expected[row, : len(written), :length], atol=1e-5)
            np.testing.assert_allclose(weights.sum(1), 1, rtol=1e-4)
    blind = RECURRENT.clone(attention="none")
    assert task.illustrate(blind, randomized(blind), {}, BATCH, readable, tmp_path) == {} and not drawn


def test_the_picture_takes_any_letters(tmp_path):
    from research.tasks.pictures import draw_alignments

    some = (np.eye(3, 5), ["$", " ", "\u4e00"], ["$", "a$", "\n", "_", "^"])
    draw_alignments([some, (np.zeros((0, 2)), [], ["a", "b"])], tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")


def test_what_does_not_fit_is_refused():
    task = SequenceToSequence()
    task.check(Schema({"labels": Tokens(V)}), jax.ShapeDtypeStruct((B, T, V), jnp.float32))
    with pytest.raises(UsageError, match="11 logits, but the target vocabulary of the data has 12 tokens: set model.t"):
        task.check(Schema({"labels": Tokens(V + 1)}), jax.ShapeDtypeStruct((B, T, V), jnp.float32))
    with pytest.raises(
        UsageError, match="SequenceToSequence needs lengths, but the data gives label_lengths, labels, t"
    ):
        task.predict(CNN1D(), {}, {}, {name: entry for name, entry in BATCH.items() if name != "lengths"})
    with pytest.raises(UsageError, match="CNN1D cannot write"):
        task.predict(CNN1D(), {}, {}, BATCH)


def test_scores_of_texts_are_those_of_sacrebleu_on_the_written_file(tmp_path, capsys, data_dir):
    """Of a run before its first step, whose texts have some characters right, and of words by hand."""
    value = replace(dates_seq2seq.experiment, dates_seq2seq.smoke)
    begin(value, tmp_path / "run", RunOptions(data_dir=data_dir))
    words = ["predict", "--workdir", tmp_path / "run", "--output", tmp_path / "p.jsonl", "--data_dir", data_dir]
    with pytest.raises(SystemExit) as left:
        cli.main(dates_seq2seq.experiment, file="dates_seq2seq.py", arguments=list(map(str, words)))
    assert not left.value.code
    rows = [json.loads(line) for line in (tmp_path / "p.jsonl").read_text().splitlines()]
    written, targets = ([row[name] for row in rows] for name in ("prediction", "target"))
    told = json.loads((tmp_path / "p.scores.json").read_text())
    assert (told["split"], told["step"]) == ("test", 0)
    chrf = sacrebleu.corpus_chrf(written, [targets]).score
    assert told["chrf"]["score"] == chrf > 0
    assert told["bleu"]["score"] == sacrebleu.corpus_bleu(written, [targets]).score
    assert f"  chrf {chrf:.4f}" in capsys.readouterr().out

    columns = {"prediction": np.array(["All else is equal.", "Why?"]), "target": np.array(["All else equal.", "Why?"])}
    scores = SequenceToSequence().text_scores(columns)
    targets = [columns["target"].tolist()]
    assert scores["bleu"].score == sacrebleu.corpus_bleu(columns["prediction"].tolist(), targets).score > 0
    assert "tok:13a" in scores["bleu"].signature
    ids = np.zeros((2, 3), np.int32)
    assert SequenceToSequence().text_scores({"prediction": ids, "target": ids}) == {}
