"""Logistic regression, beside scikit-learn called by itself."""

import sys

import numpy as np
import pytest
import sklearn.linear_model
import sklearn.metrics

from experiments.baselines.libraries import one_thread
from experiments.baselines.logistic_regression import LogisticRegression
from experiments.digits_cnn import baselines, experiment
from research.baselines import judge_missing
from research.baselines.judging import examples
from research.errors import UsageError


def test_of_digits(data_dir, tmp_path):
    """It reads 96.7 % of them, and the task's metrics are scikit-learn's of its own call."""
    (judgement,) = judge_missing(experiment, baselines, tmp_path, data_dir=data_dir)
    train, test = (examples(experiment.data, experiment.data.open(name, data_dir)) for name in ("train", "test"))
    with one_thread():
        model = sklearn.linear_model.LogisticRegression(max_iter=1000).fit(_flat(train), train["label"])
    found, probability = judgement.metrics["test"], model.predict_proba(_flat(test))
    assert found["accuracy"] == pytest.approx(0.9666, abs=5e-5)
    assert found["accuracy"] == pytest.approx(model.score(_flat(test), test["label"]))
    assert found["loss"] == pytest.approx(sklearn.metrics.log_loss(test["label"], probability), rel=1e-3)


def _flat(examples):
    return examples["image"].reshape(len(examples["image"]), -1).astype(np.float64)


def test_a_class_without_training_examples_is_never_expected():
    rng = np.random.default_rng(0)
    train = {"features": rng.normal(size=(30, 3)), "label": np.repeat([0, 1, 3], 10)}
    validation = {"features": rng.normal(size=(2, 3)), "label": np.array([2, 4])}
    found = LogisticRegression("features").fit(train, validation, 0).predict(validation)["log_probability"]
    assert found.shape == (2, 5) and np.isneginf(found[:, [2, 4]]).all()
    np.testing.assert_allclose(np.exp(found).sum(1), 1)


def test_a_greater_penalty_makes_smaller_coefficients():
    rng = np.random.default_rng(0)
    train = {"image": rng.normal(size=(60, 2, 2)), "label": np.tile([0, 1], 30)}
    few, many = (LogisticRegression(penalty=penalty).fit(train, train, 0).model.coef_ for penalty in (0.1, 100.0))
    assert np.abs(many).max() < np.abs(few).max()


def test_what_is_missing_is_named(monkeypatch):
    with pytest.raises(UsageError, match="LogisticRegression reads label, but the data gives image"):
        LogisticRegression().fit({"image": np.zeros((2, 2))}, {}, 0)
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(UsageError, match=r'needs scikit-learn: pip install "ceteris-research\[baselines\]"'):
        LogisticRegression().fit({}, {}, 0)
