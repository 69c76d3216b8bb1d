import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import sklearn.metrics
from hypothesis import given
from hypothesis import strategies as st

from research.data.schema import Categorical, Schema
from research.errors import UsageError
from research.tasks import Classification

B, C = 97, 7
RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(B, C)).astype(np.float32) * 3
LABEL = RNG.integers(0, C, B).astype(np.int32)
WEIGHTS = (0.5, 1.0, 2.0, 0.0, 3.0, 0.25, 1.5)


def batch(label=LABEL, **more):
    return {"image": np.zeros((len(label), 1), np.float32), "label": jnp.asarray(label), **more}


def metrics(task, logits=LOGITS, label=LABEL):
    return task.summarize(task.measure(jnp.asarray(logits), batch(label)))


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
def test_the_loss_equals_that_of_optax(smoothing):
    task = Classification(label_smoothing=smoothing)
    target = optax.smooth_labels(jax.nn.one_hot(LABEL, C), smoothing)

    def loss(logits):
        return task.objective(task.measure(logits, batch()))

    def expected(logits):
        return optax.softmax_cross_entropy(logits, target).mean()

    np.testing.assert_allclose(loss(LOGITS), expected(LOGITS), rtol=1e-5)
    np.testing.assert_allclose(jax.grad(loss)(LOGITS), jax.grad(expected)(LOGITS), rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(metrics(task)["loss"], expected(LOGITS), rtol=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.25])
def test_class_weights_by_hand(smoothing):
    task = Classification(label_smoothing=smoothing, class_weights=WEIGHTS)
    logits = LOGITS.astype(np.float64)
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    losses = [-(1 - smoothing) * row[y] - smoothing * row.mean() for row, y in zip(log_p, LABEL, strict=True)]
    weight = np.array(WEIGHTS)[LABEL]
    expected = (weight * losses).sum() / weight.sum()
    sums = task.measure(LOGITS, batch())
    np.testing.assert_allclose(task.objective(sums), expected, rtol=1e-5)
    np.testing.assert_allclose(task.summarize(sums)["loss"], expected, rtol=1e-5)
    alike = Classification(label_smoothing=smoothing, class_weights=(3.0,) * C)
    np.testing.assert_allclose(
        alike.objective(alike.measure(LOGITS, batch())), metrics(Classification(smoothing))["loss"], rtol=1e-5
    )


OTHER = np.random.default_rng(3).integers(0, C, B).astype(np.int32)
SHARE = np.random.default_rng(4).uniform(size=B).astype(np.float32)


@pytest.mark.parametrize("smoothing", [0.0, 0.25])
def test_the_loss_of_mixed_examples_is_that_of_mixed_targets(smoothing):
    one_hot = [optax.smooth_labels(jax.nn.one_hot(label, C), smoothing) for label in (LABEL, OTHER)]
    target = SHARE[:, None] * one_hot[0] + (1 - SHARE[:, None]) * one_hot[1]
    task = Classification(label_smoothing=smoothing)
    sums = task.measure(LOGITS, batch(other=OTHER, share=SHARE))
    np.testing.assert_allclose(task.objective(sums), optax.softmax_cross_entropy(LOGITS, target).mean(), rtol=1e-5)
    whole = metrics(task)
    mixed = task.summarize(sums)
    assert mixed.pop("loss") != whole.pop("loss") and mixed == whole


def test_a_mixed_example_weighs_as_the_parts_it_is_made_of():
    """A batch of mixed examples costs what one costs that holds both halves, as often as their shares say."""
    quarters = np.random.default_rng(5).integers(0, 5, B)
    task = Classification(label_smoothing=0.1, class_weights=WEIGHTS)
    mixed = task.measure(LOGITS, batch(other=OTHER, share=(quarters / 4).astype(np.float32)))
    repeats = np.concatenate([np.repeat(np.arange(B), quarters), np.repeat(np.arange(B), 4 - quarters)])
    labels = np.concatenate([np.repeat(LABEL, quarters), np.repeat(OTHER, 4 - quarters)])
    whole = task.measure(LOGITS[repeats], batch(labels))
    np.testing.assert_allclose(task.objective(mixed), task.objective(whole), rtol=1e-5)
    np.testing.assert_allclose(4 * mixed["weight"], whole["weight"], rtol=1e-5)


def test_a_share_of_one_is_a_whole_example_and_padding_does_not_matter():
    task = Classification(label_smoothing=0.1, class_weights=WEIGHTS)
    mask = np.arange(B) < 60
    logits = np.where(mask[:, None], LOGITS, np.nan)
    whole = task.measure(logits, batch(mask=mask))
    padding = {"other": np.where(mask, OTHER, 10**6), "share": np.where(mask, 1.0, np.nan).astype(np.float32)}
    mixed = task.measure(logits, batch(mask=mask, **padding))
    for name in whole:
        np.testing.assert_allclose(mixed[name], whole[name], rtol=1e-6)


def test_huge_logits_give_a_finite_loss():
    logits = np.array([[1e4, -1e4], [-1e4, 1e4]], np.float32)
    assert metrics(Classification(), logits, np.array([0, 0]))["loss"] == pytest.approx(1e4)


def scikit(logits, label, k):
    """The same metrics by scikit-learn."""
    guess = logits.argmax(1)
    precision, recall, f1, _ = sklearn.metrics.precision_recall_fscore_support(
        label, guess, average="macro", zero_division=0
    )
    top = sklearn.metrics.top_k_accuracy_score(label, logits, k=k, labels=np.arange(logits.shape[1]))
    return {
        "accuracy": sklearn.metrics.accuracy_score(label, guess),
        f"top_{k}_accuracy": top,
        "macro_precision": precision,
        "macro_recall": recall,
        "macro_f1": f1,
    }


def cases():
    absent_label = np.where(LABEL == 3, 2, LABEL)
    never_guessed = LOGITS - 50 * np.eye(C, dtype=np.float32)[4]
    two = np.where(LABEL < 3, 1, 5).astype(np.int32)
    return {
        "all": (LOGITS, LABEL),
        "a class without labels": (LOGITS, absent_label),
        "a class without guesses": (never_guessed, LABEL),
        "a class with neither": (LOGITS - 50 * np.eye(C, dtype=np.float32)[3], absent_label),
        "two classes of seven": (LOGITS + 30 * np.eye(C, dtype=np.float32)[1], two),
        "all right": (20 * np.eye(C, dtype=np.float32)[LABEL] + LOGITS, LABEL),
        "all wrong": (20 * np.eye(C, dtype=np.float32)[(LABEL + 1) % C] + LOGITS, LABEL),
        "one example": (LOGITS[:1], LABEL[:1]),
    }


@pytest.mark.parametrize("case", cases())
@pytest.mark.parametrize("k", [1, 3])
def test_metrics_equal_those_of_scikit_learn(case, k):
    logits, label = cases()[case]
    found = metrics(Classification(top_k=k), logits, label)
    assert set(found) == {"loss", *scikit(logits, label, k)}
    for name, value in scikit(logits, label, k).items():
        assert found[name] == pytest.approx(value, abs=1e-6), name
        assert isinstance(found[name], float)


def test_rows_of_the_confusion_matrix_are_labels():
    sums = Classification().measure(LOGITS, batch())
    expected = sklearn.metrics.confusion_matrix(LABEL, LOGITS.argmax(1), labels=np.arange(C))
    np.testing.assert_array_equal(Classification().details(sums)["confusion_matrix"], expected)
    assert not np.array_equal(expected, expected.T)


def test_top_k_by_hand_with_ties():
    logits = np.array([[3, 2, 2, 1], [3, 2, 2, 1], [0, 0, 0, 0]], np.float32)
    for k, expected in {1: 1 / 3, 2: 2 / 3, 3: 2 / 3, 4: 1.0, 9: 1.0}.items():  # a tie does not outscore
        found = metrics(Classification(top_k=k), logits, np.array([2, 3, 3]))
        assert found[f"top_{k}_accuracy"] == pytest.approx(expected)


def test_logits_that_are_no_numbers_score_nothing():
    found = metrics(Classification(), np.full((3, C), np.nan, np.float32), np.array([1, 2, 3]))
    assert np.isnan(found.pop("loss"))
    assert set(found.values()) == {0.0}


def garbage(n):
    """Rows that must not matter."""
    logits = np.array([np.nan, np.inf, -np.inf, 1e38, 0.0], np.float32)
    return np.resize(logits, (n, C)), np.resize(np.array([0, -1, 10**6, C], np.int32), n)


def masked(task, parts, size):
    """Sums over padded batches that together hold all examples."""
    total = None
    for rows in parts:
        logits, label = garbage(size)
        logits[: len(rows)], label[: len(rows)] = LOGITS[rows], LABEL[rows]
        sums = task.measure(jnp.asarray(logits), batch(label, mask=jnp.arange(size) < len(rows)))
        total = sums if total is None else jax.tree.map(jnp.add, total, sums)
    return total


@given(st.permutations(range(B)), st.lists(st.integers(0, B), max_size=5))
def test_any_batches_give_the_same_metrics(order, cuts):
    task = Classification(label_smoothing=0.1, class_weights=WEIGHTS)
    parts = np.split(np.array(order), sorted(cuts))
    split, whole = masked(task, parts, B), task.measure(LOGITS, batch())
    for name in ("count", "top_k", "confusion"):
        np.testing.assert_array_equal(split[name], whole[name])
    found, expected = task.summarize(split), task.summarize(whole)
    assert found.pop("loss") == pytest.approx(expected.pop("loss"), rel=1e-5)
    assert found == expected


@pytest.mark.parametrize("position", ["first", "last", "between"])
def test_masked_rows_never_matter(position):
    task = Classification(label_smoothing=0.1, class_weights=WEIGHTS)
    n = 11
    order = {
        "first": np.r_[B : B + n, :B],
        "last": np.r_[: B + n],
        "between": np.random.default_rng(1).permutation(B + n),
    }
    logits, label = (np.concatenate(pair)[order[position]] for pair in zip((LOGITS, LABEL), garbage(n), strict=True))
    sums = task.measure(jnp.asarray(logits), batch(label, mask=jnp.asarray(order[position] < B)))
    expected = task.measure(LOGITS, batch())
    for name in ("count", "top_k", "confusion"):
        np.testing.assert_array_equal(sums[name], expected[name])
    for name in ("loss", "weight"):
        np.testing.assert_allclose(sums[name], expected[name], rtol=1e-5)


def test_a_batch_of_nothing_adds_nothing():
    task = Classification(label_smoothing=0.1, class_weights=WEIGHTS)
    sums = masked(task, [np.array([], int)], 5)
    assert all(not np.asarray(leaf).any() for leaf in jax.tree.leaves(sums))


def test_of_nothing_the_loss_is_zero_and_the_metrics_are_no_numbers():
    sums = masked(Classification(), [np.array([], int)], 5)
    assert Classification().objective(sums) == 0
    assert np.isnan(list(Classification().summarize(sums).values())).all()


def test_counts_are_integers():
    sums = Classification().measure(jnp.bfloat16(LOGITS), batch())
    for name in ("count", "top_k", "confusion"):
        assert sums[name].dtype == jnp.int32


def test_numbers_of_the_task_are_arguments():
    def loss(smoothing, weights):
        task = Classification(label_smoothing=smoothing, class_weights=weights)
        return task.objective(task.measure(LOGITS, batch()))

    traced = jax.jit(chex.assert_max_traces(loss, n=1))
    for smoothing in (0.1, 0.5):
        for weights in (WEIGHTS, WEIGHTS[::-1]):
            np.testing.assert_allclose(traced(smoothing, weights), loss(smoothing, weights), rtol=1e-5)


@pytest.mark.parametrize(
    "task, classes, message",
    [
        (Classification(), 10, "the model gives 7 logits, but the dataset has 10 classes: set model.classes"),
        (Classification(class_weights=(0.0,) * 7), 7, "task.class_weights are all zero"),
        (Classification(class_weights=(1.0, 2.0)), 7, "task.class_weights has 2 weights for 7 classes"),
        (Classification(class_weights=(1.0,) * 9), None, "task.class_weights has 9 weights for 7 classes"),
        (Classification(), 7, None),
        (Classification(), None, None),
        (Classification(class_weights=WEIGHTS), 7, None),
    ],
)
def test_a_model_that_does_not_fit_is_found_before_anything_runs(task, classes, message):
    outputs = jax.ShapeDtypeStruct((5, 7), jnp.float32)
    schema = Schema({} if classes is None else {"label": Categorical(classes)})
    if message is None:
        return task.check(schema, outputs)
    with pytest.raises(UsageError, match=message):
        task.check(schema, outputs)


def test_outputs_of_another_kind_are_refused():
    sequence = jax.ShapeDtypeStruct((5, 3, 7), jnp.float32)
    with pytest.raises(
        UsageError, match=r"reads outputs \[b, classes\], but the model gives an array of shape \[5, 3, 7"
    ):
        Classification().check(Schema({}), sequence)
    with pytest.raises(UsageError, match="but the model gives a mapping of masked, next"):
        Classification().check(Schema({}), {"masked": sequence, "next": sequence})


def test_predictions_are_labels_classes_and_probabilities():
    found = Classification().predictions(jnp.asarray(LOGITS), batch())
    np.testing.assert_array_equal(found["label"], LABEL)
    np.testing.assert_array_equal(found["prediction"], LOGITS.argmax(1))
    exact = np.exp(LOGITS.astype(np.float64))
    np.testing.assert_allclose(found["probability"], exact / exact.sum(1, keepdims=True), rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(found["probability"].sum(1), 1, rtol=1e-6)


def test_monitor_and_headline_are_metrics():
    names = metrics(Classification())
    assert {Classification.monitor, *Classification.headline} <= names.keys() and Classification.maximize
