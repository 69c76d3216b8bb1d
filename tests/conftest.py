import os

import chex
import hypothesis
import jax
import pytest

from research.data import Images
from research.experiment import Experiment
from research.models import CNN
from research.optimization import Optimizer
from research.tasks import Classification

os.environ["JAX_PLATFORMS"] = "cpu"  # for the commands that tests start
jax.config.update("jax_platforms", "cpu")
# Commands keep what they compile in the user's home, and a test must find the same there every time: nothing.
os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "false"
jax.config.update("jax_enable_compilation_cache", False)
os.environ["CETERIS_KEEP_MEMORY"] = "false"  # the suite would stay as large as its largest test
jax.config.update("jax_numpy_rank_promotion", "raise")

# The same examples on every run: a suite that fails by chance teaches people to run it again.
hypothesis.settings.register_profile("suite", deadline=None, derandomize=True, database=None, max_examples=50)
hypothesis.settings.load_profile("suite")


@pytest.fixture(autouse=True)
def fresh_trace_counts():
    """Traces are counted by function and line, so a parametrized test would go on where the case before it stopped."""
    chex.clear_trace_counter()


@pytest.fixture
def quick_compilation():
    """For a test that compiles for seconds and computes for milliseconds."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture(scope="session")
def experiment():
    """A run of a second or two with everything switched on; no two of its sizes are equal."""
    return Experiment(
        model=CNN(channels=(3, 5), dense=(7,), dropout=0.2),
        task=Classification(label_smoothing=0.1),
        data=Images("digits", shift=1, noise=0.05),
        optimizer=Optimizer("adamw", learning_rate=3e-3, warmup=2, weight_decay=1e-2, clip_norm=1.0, ema=0.9),
        steps=12,
        batch_size=17,
    )


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory):
    """A folder for the packaged datasets, with digits in it."""
    folder = str(tmp_path_factory.mktemp("packaged"))
    Images("digits").open("train", folder)
    return folder
