"""What the tests of texts read with."""

import jax
import numpy as np
import pytest

from research.data import evaluation_batches
from research.data.splits import Split
from research.errors import UsageError

SPLITS = Split.__args__


def batches(value, split, size=7, data_dir=None):
    run = jax.jit(value.preprocess)
    for batch in evaluation_batches(value.open(split, data_dir), size):
        yield jax.tree.map(np.asarray, run(batch))


def refused(action):
    with pytest.raises(UsageError) as caught:
        action()
    return str(caught.value)
