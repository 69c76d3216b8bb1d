"""Simple baselines: what they are shown, how they are judged, and that what has a result is left alone."""

import dataclasses
import json
from typing import ClassVar, NamedTuple

import jax
import numpy as np
import pytest

from research.baselines import Baseline, fingerprint, judge_missing, judgements
from research.baselines.judging import examples, metrics
from research.errors import RunError, UsageError
from research.experiment import RunOptions, replace
from research.training import evaluate, init
from research.training.storage import sealed


class Constant(NamedTuple):
    """What a baseline predicts for every example."""

    log_probability: np.ndarray

    def predict(self, examples):
        return {"log_probability": np.tile(self.log_probability, (len(examples["image"]), 1))}


@dataclasses.dataclass(frozen=True)
class Shares(Baseline):
    """Predicts how often each class is met in training."""

    packages: ClassVar[tuple[str, ...]] = ("scipy",)

    smoothing: float = 1.0

    def fit(self, train, validation, seed):
        counts = np.bincount(train["label"], minlength=10) + self.smoothing
        return Constant(np.log(counts / counts.sum()))


@dataclasses.dataclass(frozen=True)
class Draws(Shares):
    """Fits to a part that is drawn."""

    draws: ClassVar[bool] = True

    def fit(self, train, validation, seed):
        rows = np.random.default_rng(seed).permutation(len(train["label"]))[:100]
        return super().fit({"label": train["label"][rows]}, validation, seed)


@dataclasses.dataclass(frozen=True)
class Raises(Baseline):
    """Raises what it is told to."""

    kind: str = "RuntimeError"

    def fit(self, train, validation, seed):
        raise {"UsageError": UsageError, "KeyboardInterrupt": KeyboardInterrupt}.get(self.kind, RuntimeError)(
            "no\nroom"
        )


class Network(NamedTuple):
    """An untrained model of the experiment as a baseline."""

    experiment: object
    state: object

    def predict(self, examples):
        variables = {"params": self.state.evaluated, **self.state.variables}
        logits = self.experiment.model.apply(variables, examples["image"], train=False)
        return {"log_probability": np.asarray(jax.nn.log_softmax(logits))}


@pytest.fixture
def judge(experiment, data_dir, tmp_path):
    """Judge baselines in a folder of their own; return the judgements by name and seed."""

    def judge(baselines, seeds=(), changes=None):
        value = replace(experiment, changes or {})
        found = list(judge_missing(value, baselines, tmp_path, seeds, data_dir))
        return {(judgement.name, judgement.seed): judgement for judgement in found}

    return judge


@pytest.fixture
def fits(monkeypatch):
    """The seeds with which `Shares` and `Draws` were fitted."""
    seeds, fit = [], Shares.fit
    monkeypatch.setattr(Shares, "fit", lambda *given: seeds.append(given[-1]) or fit(*given))
    return seeds


def test_the_metrics_of_a_model_are_those_of_its_outputs_as_a_baseline(experiment, data_dir):
    """With padding: no split is a multiple of the batch."""
    state = init(experiment, jax.random.key(0))
    for name in ("train", "test"):
        records = experiment.data.open(name, data_dir)
        assert len(records) % 256
        found = metrics(experiment, Network(experiment, state), records)
        assert found == pytest.approx(evaluate(experiment, state, name, RunOptions(data_dir=data_dir)), rel=1e-5)


def test_a_baseline_is_shown_every_example_prepared_as_for_evaluation_and_no_padding(experiment, data_dir):
    data = experiment.data
    for name in ("train", "validation"):
        records = data.open(name, data_dir)
        shown, whole = examples(data, records), jax.device_get(data.preprocess(records.arrays()))
        assert shown.keys() == whole.keys()
        np.testing.assert_array_equal(shown["label"], whole["label"])
        np.testing.assert_allclose(shown["image"], whole["image"], atol=1e-6)  # without the shift and noise of training


def test_it_is_judged_by_the_task_on_validation_and_test(judge, experiment, data_dir):
    ((key, judgement),) = judge({"shares": Shares()}).items()
    assert (key, judgement.error) == (("shares", 0), "")
    label = {name: experiment.data.open(name, data_dir).arrays()["label"] for name in ("train", "test")}
    share = (np.bincount(label["train"]) + 1) / (len(label["train"]) + 10)
    smoothing = experiment.task.label_smoothing
    logs = np.log(share)
    loss = -((1 - smoothing) * logs[label["test"]] + smoothing * logs.mean()).mean()
    assert judgement.metrics["test"]["loss"] == pytest.approx(loss, rel=1e-5)
    assert judgement.metrics["test"]["accuracy"] == pytest.approx((label["test"] == share.argmax()).mean())
    assert judgement.metrics.keys() == {"validation", "test"}
    assert {"scipy", "jax", "python"} <= judgement.versions.keys()
    assert judgement.seconds["total"] == pytest.approx(judgement.seconds["fit"] + judgement.seconds["evaluate"])


def test_what_is_missing_is_fitted_and_nothing_else(judge, fits, tmp_path):
    first = judge({"shares": Shares()})
    assert (judge({"shares": Shares()}), fits) == (first, [0])  # read back equal
    judge({"shares": Shares(2.0)})
    judge({"shares": Shares()}, changes={"data.mean": (0.25,)})
    judge({"shares": Shares()}, changes={"task.label_smoothing": 0.0})
    assert fits == [0] * 4 and len(judgements(tmp_path)) == 4
    judge({"shares": Shares()}, changes={"model.dropout": 0.5, "optimizer.learning_rate": 1.0, "steps": 7})
    assert len(fits) == 4  # none of which it can see


def test_what_draws_is_fitted_with_each_seed_and_anything_else_once(judge, fits):
    assert list(judge({"shares": Shares(), "draws": Draws()}, range(3, 6))) == [
        ("shares", 3),
        ("draws", 3),
        ("draws", 4),
        ("draws", 5),
    ]
    assert fits == [3, 3, 4, 5]
    judge({"shares": Shares(), "draws": Draws()}, range(3, 7))
    assert fits == [3, 3, 4, 5, 6]


def test_one_that_raises_is_kept_with_its_error_and_tried_again(judge, fits, tmp_path):
    found = judge({"raises": Raises(), "shares": Shares()})
    assert found["raises", 0].error == "RuntimeError: no" and fits == [0]
    (kept,) = [judgement for judgement in judgements(tmp_path) if judgement.name == "raises"]
    assert kept.error == "RuntimeError: no" and "in fit" in kept.traceback and not kept.metrics
    with pytest.MonkeyPatch.context() as mended:
        mended.setattr(Raises, "fit", lambda self, train, validation, seed: Constant(np.zeros(10)))
        assert judge({"raises": Raises(), "shares": Shares()})["raises", 0].metrics
    assert fits == [0] and not any(judgement.error for judgement in judgements(tmp_path))


def test_what_cannot_be_fitted_here_is_said_and_not_kept(judge, tmp_path):
    assert judge({"raises": Raises("UsageError")})["raises", 0].error == "no\nroom"
    assert list(tmp_path.iterdir()) == []


def test_predictions_that_do_not_fit_are_refused(judge):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Shares, "fit", lambda *given: Constant(np.zeros(9)))
        assert "9 logits, but the dataset has 10 classes" in judge({"shares": Shares()})["shares", 0].error
        patch.setattr(Constant, "predict", lambda self, examples: {"probability": np.zeros((len(examples), 10))})
        assert "judges log_probability" in judge({"shares": Shares()})["shares", 0].error


@pytest.mark.fault("F2")
def test_a_stop_while_fitting_leaves_nothing(judge, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        judge({"raises": Raises("KeyboardInterrupt")})
    assert list(tmp_path.iterdir()) == []


def test_a_result_that_cannot_be_written_is_said_and_breaks_nothing(judge, tmp_path):
    (tmp_path / f"shares-{'0' * 10}-seed0").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("research.baselines.fitting.fingerprint", lambda *_: "0" * 10)
        patch.setattr("research.baselines.store.sealed.write", _full)
        judgement = judge({"shares": Shares()})["shares", 0]
    assert judgement.error.endswith("cannot be written: No space left on device") and judgement.metrics


def _full(path, text):
    raise OSError(28, "No space left on device")


def test_a_damaged_result_is_named(judge, tmp_path):
    judge({"shares": Shares()})
    (file,) = tmp_path.glob("*/result.json")
    whole = json.loads(file.read_text())
    for text in (
        "",
        "[]",
        "{",
        json.dumps({**whole, "seed": "0"}),
        json.dumps({**whole, "metrics": {"test": {"a": []}}}),
    ):
        sealed.write(file, text)
        with pytest.raises(RunError, match=r"result\.json is damaged: .*; delete it and run again"):
            judgements(tmp_path)
    sealed.write(file, json.dumps({**whole, "metrics": {"test": {"loss": None}}}))
    assert np.isnan(judgements(tmp_path)[0].metrics["test"]["loss"])


@pytest.mark.parametrize("name", ["../x", "a b", "a/b", "", "1"])
def test_a_name_is_a_word(judge, name):
    with pytest.raises(UsageError, match="the baseline .* names a folder"):
        judge({name: Shares()})


def test_a_value_is_checked_and_its_fingerprint_follows_what_differs(experiment):
    with pytest.raises(UsageError, match="smoothing must be float"):
        Shares("much")
    assert fingerprint(Shares(), experiment) == fingerprint(Shares(1.0), experiment)
    others = [fingerprint(value, experiment) for value in (Shares(), Shares(2.0), Draws(), Raises())]
    assert len(set(others)) == 4
