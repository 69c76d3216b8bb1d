"""Auxiliary classifiers: what they add to the loss, and that nothing else notices them."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from research.errors import UsageError
from research.experiment import Experiment, fingerprint, replace, split, to_json
from research.models import InceptionV1
from research.tasks import Classification, MultiLabel
from research.training import check
from research.training.update.shapes import abstract_state
from research.training.update.step import eval_step, train_step
from tests.models.images.small_images import drawn

B, C = 7, 5
WEIGHTS = (0.5, 1.0, 2.0, 3.0, 0.25)
RNG = np.random.default_rng(0)
BATCH = {
    "image": RNG.normal(2.0, 3.0, (B, 3, 2, 1)).astype(np.float32),
    "label": RNG.integers(0, C, B).astype(np.int32),
    "mask": np.arange(B) < 6,
}


class Network(nn.Module):
    """Two auxiliary classifiers in training, and something else that is sown."""

    @nn.compact
    def __call__(self, x, train=False):
        x = nn.BatchNorm(use_running_average=not train, momentum=0.5)(x.reshape(len(x), -1))
        hidden = nn.Dense(3, name="hidden")(x)
        self.sow("intermediates", "stem_output", hidden)
        for index in range(2):
            logits = nn.Dense(C, name=f"auxiliary_{index}")(hidden)
            if train:
                self.sow("intermediates", f"auxiliary_{index}_logits", logits)
        return nn.Dense(C, name="logits")(hidden)


@pytest.fixture(scope="module")
def variables():
    return Network().init(jax.random.key(0), BATCH["image"])


def minimised(task, variables, params=None, batch=BATCH):
    """Return the objective of training, its sums and the updated variables."""
    rest = {name: tree for name, tree in variables.items() if name != "params"}
    outputs, updated = task.forward(Network(), params or variables["params"], rest, batch, jax.random.key(1))
    sums = task.measure(outputs, batch)
    return task.objective(sums), sums, updated


def by_hand(variables, auxiliary, batch=BATCH):
    """The weighted mean loss of all three classifiers, label smoothing 0.1."""
    logits, sown = Network().apply(variables, batch["image"], train=True, mutable=["intermediates", "batch_stats"])
    heads = [sown["intermediates"][f"auxiliary_{index}_logits"][0] for index in range(2)]
    losses = [0.0, 0.0, 0.0]
    shares = [("label", batch.get("share", np.ones(B)))]
    shares += [("other", 1 - batch["share"])] if "other" in batch else []
    total = 0.0
    for name, share in shares:
        target = optax.smooth_labels(jax.nn.one_hot(batch[name], C), 0.1)
        weight = np.array(WEIGHTS)[batch[name]] * share * batch["mask"]
        total += weight.sum()
        for head, values in enumerate((logits, *heads)):
            losses[head] += (weight * np.asarray(optax.softmax_cross_entropy(values, target))).sum()
    return (losses[0] + auxiliary * (losses[1] + losses[2])) / total


MIXED = {**BATCH, "other": BATCH["label"][::-1].copy(), "share": RNG.uniform(size=B).astype(np.float32)}


@pytest.mark.parametrize("batch", [BATCH, MIXED], ids=["whole", "mixed"])
def test_the_loss_is_the_sum_by_hand(variables, batch):
    off = Classification(label_smoothing=0.1, class_weights=WEIGHTS)
    for auxiliary in (0.0, 0.3, 2.0):
        found, _, _ = minimised(replace(off, {"auxiliary": auxiliary}), variables, batch=batch)
        np.testing.assert_allclose(found, by_hand(variables, auxiliary, batch), rtol=1e-5)


def test_metrics_and_variables_are_as_without(variables):
    off, on = Classification(label_smoothing=0.1), Classification(label_smoothing=0.1, auxiliary=0.3)
    (_, expected, rest), (_, sums, updated) = (minimised(task, variables) for task in (off, on))
    assert on.summarize(sums) == off.summarize(expected) and sums.keys() - expected.keys() == {"auxiliary"}
    jax.tree.map(np.testing.assert_array_equal, updated, rest)
    assert set(updated) == {"batch_stats"}
    rest = {"batch_stats": variables["batch_stats"]}
    for method in ("forward", "evaluate", "predict"):
        found, without = (getattr(task, method)(Network(), variables["params"], rest, BATCH) for task in (on, off))
        jax.tree.map(np.testing.assert_array_equal, found, without)


def test_gradients_reach_auxiliary_classifiers_in_proportion(variables):
    def gradient(auxiliary):
        task = Classification(auxiliary=auxiliary)
        return jax.grad(lambda params: minimised(task, variables, params)[0])(variables["params"])

    off, one, three = map(gradient, (0.0, 0.1, 0.3))
    for head in ("auxiliary_0", "auxiliary_1"):
        assert not np.any(off[head]["kernel"]) and np.abs(one[head]["kernel"]).max() > 1e-3
        np.testing.assert_allclose(three[head]["kernel"], 3 * one[head]["kernel"], rtol=1e-4, atol=1e-6)
    assert not np.allclose(off["hidden"]["kernel"], one["hidden"]["kernel"], rtol=1e-3)
    np.testing.assert_allclose(off["logits"]["kernel"], one["logits"]["kernel"], rtol=1e-5, atol=1e-7)


@pytest.fixture
def inception(experiment) -> Experiment:
    """A run of the smallest network that has an auxiliary head."""
    model = InceptionV1(blocks=(1, 1, 1), width_percent=5, stem="small", auxiliary=True)
    return replace(experiment, {"model": model, "task": Classification(auxiliary=0.3)})


IMAGES = {"image": jnp.asarray(RNG.integers(0, 256, (17, 8, 8, 1)), jnp.uint8), "label": jnp.arange(17) % 10}


def test_a_step_of_inception_keeps_the_structure_of_its_state(inception):
    program, hyperparameters = split(inception)
    assert hyperparameters["task.auxiliary"] == 0.3
    state = abstract_state(inception)
    after, metrics = jax.eval_shape(lambda state: train_step(program, hyperparameters, state, IMAGES), state)
    assert jax.tree.structure(after) == jax.tree.structure(state) and set(after.variables) == {"batch_stats"}
    assert "auxiliary" in metrics["sums"]
    assert "auxiliary" not in jax.eval_shape(lambda state: eval_step(program, hyperparameters, state, IMAGES), state)


@pytest.mark.slow
def test_inception_learns_with_its_auxiliary_head(inception):
    """In half precision, by both losses."""
    changes = {"steps": 100, "optimizer.warmup": 0, "optimizer.learning_rate": 0.01, "model.dtype": "bfloat16"}
    program, hyperparameters = split(replace(inception, changes))
    state = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), abstract_state(inception))
    state = state._replace(params=drawn(inception.model, jnp.zeros((1, 8, 8, 1)))["params"])
    step = jax.jit(lambda h, state: train_step(program, h, state, IMAGES))
    after, metrics = step(hyperparameters, state)
    sums = metrics["sums"]
    expected = (sums["loss"] + 0.3 * sums["auxiliary"]) / sums["weight"]
    np.testing.assert_allclose(metrics["objective"], expected, rtol=1e-5)
    moved = jax.tree.map(lambda a, b: float(np.abs(a - b).max()), after.params, state.params)
    assert min(jax.tree.leaves(moved["auxiliary_0"])) > 0
    for _ in range(20):
        after, metrics = step(hyperparameters, after)
    for loss in ("loss", "auxiliary"):
        assert metrics["sums"][loss] < 0.8 * sums[loss]


def test_zero_is_off_and_leaves_the_fingerprint(experiment):
    assert "task.auxiliary" not in split(experiment)[1]
    assert '"auxiliary": 0.0' in to_json(experiment)
    on = replace(experiment, {"task.auxiliary": 0.3})
    assert fingerprint(on) != fingerprint(experiment) == fingerprint(replace(on, {"task.auxiliary": 0.0}))


def test_a_model_and_a_task_that_do_not_fit_are_refused(inception, experiment):
    check(inception)
    check(replace(inception, {"task.auxiliary": 0.0, "model.auxiliary": False}))
    with pytest.raises(UsageError, match=r"nothing trains: set task.auxiliary to 0.3, say, or model.auxiliary to Fal"):
        check(replace(inception, {"task.auxiliary": 0.0}))
    with pytest.raises(UsageError, match="InceptionV1 has no auxiliary classifier to train: set task.auxiliary to 0"):
        check(replace(inception, {"model.auxiliary": False}))
    with pytest.raises(UsageError, match="CNN has no auxiliary classifier to train: set task.auxiliary to 0"):
        check(replace(experiment, {"task.auxiliary": 0.3}))
    labels = replace(inception, {"task": MultiLabel(), "data.name": "digit_canvas"})
    with pytest.raises(UsageError, match="MultiLabel does not train them: set model.auxiliary to False"):
        check(labels)
