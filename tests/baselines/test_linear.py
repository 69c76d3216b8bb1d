"""Least squares, beside scikit-learn."""

import numpy as np
import pytest
import sklearn.datasets
import sklearn.linear_model
import sklearn.metrics

from experiments.baselines.linear import Linear
from experiments.baselines.logistic_regression import FittedLogisticRegression
from experiments.own_table import baselines, experiment
from research.baselines import judge_missing
from research.baselines.judging import examples
from research.errors import UsageError


def test_of_a_table(data_dir, tmp_path):
    """The task's metrics are scikit-learn's of its own fit, in the units of the file."""
    (judgement,) = judge_missing(experiment, baselines, tmp_path, data_dir=data_dir)
    train, test = (examples(experiment.data, experiment.data.open(name, data_dir)) for name in ("train", "test"))
    model = sklearn.linear_model.LinearRegression().fit(train["features"], train["target"])
    found, predicted = judgement.metrics["test"], model.predict(test["features"])
    assert found["mae"] == pytest.approx(sklearn.metrics.mean_absolute_error(test["target"], predicted), rel=1e-5)
    assert found["r2"] == pytest.approx(sklearn.metrics.r2_score(test["target"], predicted), rel=1e-4)


def test_a_missing_target_is_left_out_and_depending_inputs_have_a_solution():
    """Both targets are found again, of which each is seen in half of the rows."""
    generator = np.random.default_rng(0)
    x = generator.normal(size=(40, 3))
    features = np.concatenate([x, x[:, :1]], axis=1)
    target = np.stack([x @ [1, -2, 3] + 5, x @ [0, 1, 1] - 7], axis=1)
    present = np.stack([np.arange(40) % 2 == 0, np.arange(40) % 2 == 1], axis=1)
    train = {"features": features, "target": np.where(present, target, 0), "present": present}
    fitted = Linear().fit(train, train, 0)
    np.testing.assert_allclose(fitted.predict(train)["prediction"], target, atol=1e-9)
    assert (fitted.predict(train)["std"] < 1e-9).all()
    with pytest.raises(UsageError, match="no training value of target 1"):
        Linear().fit({**train, "present": present & [True, False]}, train, 0)
    with pytest.raises(UsageError, match="Linear reads present, target, which the data does not give"):
        Linear().fit({"features": features}, train, 0)


def test_classes_are_told_by_logistic_regression():
    train = {"features": np.arange(8.0)[:, None], "label": np.repeat([0, 1], 4)}
    assert isinstance(Linear().fit(train, train, 0), FittedLogisticRegression)
