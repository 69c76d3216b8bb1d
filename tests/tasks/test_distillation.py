import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from research.errors import UsageError
from research.experiment import replace
from research.tasks import Classification, Distillation
from research.training import check
from tests.training.distilling import pupil

GOLDEN = np.load(pathlib.Path(__file__).parents[1] / "golden" / "distillation.npz")
BATCH = {"label": jnp.asarray(GOLDEN["label"]), "teacher": jnp.asarray(GOLDEN["teacher"])}
STUDENT = jnp.asarray(GOLDEN["student"])


@pytest.mark.parametrize(("temperature", "share"), [(1.0, 0.5), (4.0, 0.9), (20.0, 0.25)])
def test_loss_gradient_and_divergence_equal_those_of_torch(temperature, share):
    task = Distillation(temperature=temperature, share=share)
    loss, gradient = jax.value_and_grad(lambda logits: task.objective(task.measure(logits, BATCH)))(STUDENT)
    name = f"{temperature:g}_{share:g}"
    np.testing.assert_allclose(loss, GOLDEN[f"loss_{name}"], rtol=1e-5)
    np.testing.assert_allclose(gradient, GOLDEN[f"gradient_{name}"], rtol=1e-4, atol=1e-6)
    found = task.summarize(jax.device_get(task.measure(STUDENT, BATCH)))
    np.testing.assert_allclose(found["divergence"], GOLDEN[f"divergence_{name}"], rtol=1e-5)


def test_without_a_share_the_loss_and_its_metrics_are_those_of_classification_to_the_last_bit():
    task = Distillation(share=0.0)
    alone, taught = (jax.device_get(each.measure(STUDENT, BATCH)) for each in (Classification(), task))
    assert all(np.array_equal(taught[name], alone[name]) for name in alone)
    assert Classification().summarize(alone).items() <= task.summarize(taught).items()


def test_agreement_is_that_of_the_likeliest_classes_and_what_is_masked_counts_nowhere():
    task = Distillation()
    agrees = STUDENT.argmax(axis=1) == BATCH["teacher"].argmax(axis=1)
    assert 0 < agrees.sum() < len(agrees)
    assert task.summarize(jax.device_get(task.measure(STUDENT, BATCH)))["agreement"] == int(agrees.sum()) / len(agrees)
    mask = np.arange(len(agrees)) < 6
    # What is masked is spoilt, and agrees: argmax takes a NaN for the largest.
    agreeing = jnp.where(jax.nn.one_hot(STUDENT.argmax(axis=1), STUDENT.shape[1]) > 0, jnp.nan, 0.0)
    spoilt = {**BATCH, "teacher": jnp.where(mask[:, None], BATCH["teacher"], agreeing), "mask": jnp.asarray(mask)}
    short = {name: rows[:6] for name, rows in BATCH.items()}
    found, expected = task.measure(STUDENT, spoilt), task.measure(STUDENT[:6], short)
    for name in ("loss", "divergence", "agreement", "count"):
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-6)


def test_a_teacher_of_other_classes_is_refused(experiment):
    value = pupil(experiment)
    check(value)
    (name, teacher), *_ = value.references
    with pytest.raises(UsageError, match=r"the teacher gives \[17, 11\] and the model \[17, 10\]"):
        check(replace(value, {"references": ((name, replace(teacher, {"model.classes": 11})),)}))
