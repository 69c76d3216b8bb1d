import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given
from hypothesis import strategies as st

from research.data.schema import Labels, Schema
from research.errors import UsageError
from research.tasks import MultiLabel
from research.tasks.metrics.ranking import area_under_curve

B, K = 61, 5
RNG = np.random.default_rng(0)
LOGITS = np.round(RNG.normal(size=(B, K)) * 2, 1).astype(np.float32)  # rounded, so that some are equal
LABELS = (RNG.random((B, K)) < [0.5, 0.2, 0.8, 0.1, 0.4]).astype(np.int32)
SOME = np.where(RNG.random((B, K)) < 0.3, -1, LABELS)


def metrics(task, logits=LOGITS, labels=LABELS, **more):
    return task.summarize(jax.device_get(task.measure(jnp.asarray(logits), {"labels": labels, **more})))


def test_metrics_equal_those_of_scikit_learn():
    task = MultiLabel(threshold=0.7)
    guess = (1 / (1 + np.exp(-LOGITS.astype(np.float64))) >= 0.7).astype(int)
    expected = {
        "loss": sklearn.metrics.log_loss(LABELS.ravel(), 1 / (1 + np.exp(-LOGITS.ravel().astype(np.float64)))),
        "accuracy": (guess == LABELS).mean(),
        "exact_match": sklearn.metrics.accuracy_score(LABELS, guess),
        "macro_auc": sklearn.metrics.roc_auc_score(LABELS, LOGITS),
    }
    for average in ("micro", "macro", "weighted"):
        scores = sklearn.metrics.precision_recall_fscore_support(LABELS, guess, average=average, zero_division=0)
        expected |= {f"{average}_{name}": s for name, s in zip(("precision", "recall", "f1"), scores[:3], strict=True)}
    assert metrics(task) == pytest.approx(expected, rel=1e-5)
    assert {task.monitor, *task.headline} <= expected.keys()


def test_missing_labels_are_left_out():
    task = MultiLabel()
    sums = task.measure(jnp.asarray(LOGITS), {"labels": SOME})
    found, details, there = task.summarize(sums), task.details(sums), SOME >= 0
    guess = (LOGITS >= 0).astype(int)
    assert found["accuracy"] == pytest.approx((guess == SOME)[there].mean())
    assert found["micro_f1"] == pytest.approx(sklearn.metrics.f1_score(SOME[there], guess[there]))
    assert found["loss"] == pytest.approx(
        np.log1p(np.exp(np.where(SOME == 1, -LOGITS, LOGITS)[there])).mean(), rel=1e-5
    )
    each = [sklearn.metrics.roc_auc_score(SOME[t, j], LOGITS[t, j]) for j, t in enumerate(there.T)]
    assert details["auc"] == pytest.approx(each) and found["macro_auc"] == pytest.approx(np.mean(each))
    assert details["accuracy"] == pytest.approx([(guess == SOME)[t, j].mean() for j, t in enumerate(there.T)])
    exact = ((guess == SOME) | ~there).all(1)[there.any(1)].mean()
    assert found["exact_match"] == pytest.approx(exact) and not there.all() and there.any(1).all()


def test_weights_by_hand():
    labels, positive = (0.5, 2.0, 0.0, 1.0, 3.0), (4.0, 1.0, 1.0, 0.5, 2.0)
    weight, loss = 0.0, 0.0
    for row in range(B):
        for j in range(K):
            if SOME[row, j] >= 0:
                nats = (
                    np.log1p(np.exp(-LOGITS[row, j])) * positive[j]
                    if SOME[row, j]
                    else np.log1p(np.exp(LOGITS[row, j]))
                )
                loss, weight = loss + labels[j] * nats, weight + labels[j]
    task = MultiLabel(label_weights=labels, positive_weights=positive)
    sums = task.measure(jnp.asarray(LOGITS), {"labels": SOME})
    assert float(task.objective(sums)) == pytest.approx(loss / weight, rel=1e-5)


MEASURE = jax.jit(MultiLabel().measure)


@given(st.permutations(range(B)), st.lists(st.integers(0, B), max_size=3))
def test_any_batches_give_the_same_metrics(order, cuts):
    task, parts = MultiLabel(), []
    for rows in np.split(np.array(order), sorted(cuts)):
        mask = np.arange(B) < len(rows)
        rows = np.resize(np.append(rows, 0), B)  # padding
        dirty = np.where(mask[:, None], LOGITS[rows], np.nan)
        parts.append(jax.device_get(MEASURE(dirty, {"labels": SOME[rows], "mask": mask})))
    total = {
        name: (np.concatenate if name in task.concatenated else sum)([part[name] for part in parts])
        for name in parts[0]
    }
    assert task.summarize(total) == pytest.approx(metrics(task, labels=SOME), rel=1e-5)


def test_the_area_of_ties_and_of_one_class():
    assert area_under_curve(np.array([1.0, 1.0, 1.0]), np.array([0, 1, 1])) == 0.5
    assert area_under_curve(np.array([3.0, 1.0, 2.0, 2.0]), np.array([1, 0, 0, 1])) == 3.5 / 4
    assert np.isnan(area_under_curve(np.array([3.0, 1.0]), np.array([1, 1])))
    labels = np.where(np.arange(K)[None] == 2, 1, LABELS)
    rest = [j for j in range(K) if j != 2]
    assert metrics(MultiLabel(), labels=labels)["macro_auc"] == pytest.approx(
        sklearn.metrics.roc_auc_score(LABELS[:, rest], LOGITS[:, rest])
    )


def test_of_nothing_the_loss_is_zero_and_the_metrics_are_no_numbers():
    for batch in ({"labels": np.full((B, K), -1)}, {"labels": LABELS, "mask": np.zeros(B, bool)}):
        sums = MultiLabel().measure(jnp.asarray(LOGITS), batch)
        assert MultiLabel().objective(sums) == 0
        assert np.isnan(list(MultiLabel().summarize(sums).values())).all()


def test_predictions_are_labels_answers_and_probabilities():
    found = MultiLabel(threshold=0.25).predictions(jnp.bfloat16(LOGITS), {"labels": SOME})
    np.testing.assert_array_equal(found["labels"], SOME)
    np.testing.assert_allclose(found["probability"], 1 / (1 + np.exp(-LOGITS)), atol=0.01)
    np.testing.assert_array_equal(found["prediction"], np.asarray(found["probability"]) >= 0.25)


def test_what_does_not_fit_is_refused():
    outputs = jax.ShapeDtypeStruct((B, K), jnp.float32)
    MultiLabel(positive_weights=(1.0,) * K).check(Schema({"labels": Labels(K)}), outputs)
    for task, classes, message in [
        (MultiLabel(), 3, "the model gives 5 logits, but the data has 3 labels: set model.classes"),
        (MultiLabel(positive_weights=(1.0,)), K, "task.positive_weights has 1 weights for 5 labels"),
        (MultiLabel(label_weights=(0.0,) * K), K, "task.label_weights are all zero"),
    ]:
        with pytest.raises(UsageError, match=message):
            task.check(Schema({"labels": Labels(classes)}), outputs)
