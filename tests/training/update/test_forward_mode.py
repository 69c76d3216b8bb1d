"""`Experiment.forward_mode`: what is compiled for a run leaves convolutions to XLA, as one program of its own."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from research.experiment import replace, spec, split
from research.kernels.choice import forward_mode
from research.kernels.convolution import convolve
from research.planning.description import describe
from research.tasks import Classification
from research.training import predict, restore, train
from research.training.update.shapes import abstract_state
from research.training.update.step import eval_step, predict_step, train_step


@pytest.fixture(scope="module")
def small(experiment):
    return replace(experiment, {"steps": 3, "optimizer.warmup": 1})


def convolutions(step, experiment, platform):
    """The axes and windows of every convolution that a step is lowered to."""
    program, hyperparameters = split(experiment)
    arguments = hyperparameters, abstract_state(experiment), spec(experiment)
    lower = jax.jit(step, static_argnums=0).trace(program, *arguments).lower
    lines = lower(lowering_platforms=(platform,)).as_text().splitlines()
    return sorted(line.split("dim_numbers")[1] for line in lines if "stablehlo.convolution" in line)


@pytest.mark.parametrize("step", [train_step, eval_step, predict_step], ids=lambda step: step.__name__)
def test_the_program_alone_decides_whether_a_cpu_has_a_form_of_its_own(step, small):
    """Not what surrounds it, nor which of two programs was compiled before; in parts of a batch too."""
    for experiment in (small, replace(small, {"batch_size": 18, "accumulation": 3})):
        found = {}
        for surrounding in (False, True):
            with forward_mode(surrounding):
                for asked in (False, True):
                    of = replace(experiment, {"forward_mode": asked})
                    found[surrounding, asked] = [convolutions(step, of, platform) for platform in ("cpu", "cuda")]
        assert found[False, False] == found[True, False] and found[False, True] == found[True, True]
        cpu, cuda = found[False, True]
        assert cpu == cuda == found[False, False][1] and cuda
        assert found[False, False][0] != cuda


class Curved(nn.Module):
    """A model that reads second derivatives of a network by its images: reverse mode over forward mode."""

    @nn.compact
    def __call__(self, x, train=False):
        kernel = self.param("kernel", nn.initializers.normal(), (3, 2, x.shape[-1], 7))
        convolved = lambda x: jnp.sin(convolve(x, kernel, 1, "SAME", groups=1))  # noqa: E731
        product = jax.grad(lambda x: jax.jvp(convolved, (x,), (x,))[1].sum())(x)  # [b, h, w, c]
        return nn.Dense(10)(product.reshape(len(x), -1))


class Drawn(Classification):
    """A task that calls the model once more for what a person looks at."""

    def illustrate(self, model, params, variables, batch, readable, folder):
        return {"nothing.png": str(self.predict(model, params, variables, batch).keys())}


def test_a_model_that_differentiates_itself_in_forward_mode_is_trained_and_used(small, options, tmp_path):
    """By all that calls it; without the setting JAX refuses it before anything is computed."""
    experiment = replace(small, {"model": Curved(), "task": Drawn(), "forward_mode": True})
    result = train(experiment, tmp_path / "run", dataclasses.replace(options, pictures=True))
    assert np.isfinite(result.metrics["test"]["loss"])
    experiment, state = restore(tmp_path / "run", known={Curved, Drawn})
    assert experiment.forward_mode and np.isfinite(predict(experiment, state, "test", options)["probability"]).all()
    assert "kernel" in describe(experiment)
    with pytest.raises(NotImplementedError, match="Differentiation rule"):
        train(replace(experiment, {"forward_mode": False}), tmp_path / "refused", options)
    assert not (tmp_path / "refused").exists()
