"""Saves both kinds of checkpoint again and again, as each of several processes, without waiting in between.

python -m tests.devices.saving FOLDER
"""

import sys
from pathlib import Path

import jax
import numpy as np

from research.devices import join
from research.training.storage.checkpoints.checkpoint import Checkpoints
from research.training.update.state import TrainState

if __name__ == "__main__":
    join()
    replicated = jax.sharding.NamedSharding(
        jax.make_mesh((jax.device_count(),), ("data",)), jax.sharding.PartitionSpec()
    )

    def state(step: int) -> TrainState:
        """Return a state that every device holds."""
        leaves = TrainState(np.int32(step), {"kernel": np.ones((7, 5), np.float32)}, {}, ())
        return jax.tree.map(
            lambda leaf: jax.make_array_from_callback(leaf.shape, replicated, lambda at: leaf[at]), leaves
        )

    with Checkpoints(Path(sys.argv[1])) as checkpoints:
        for step in range(1, 15):
            checkpoints.save("latest", state(step))
            checkpoints.save("best", state(step))
    print("saved")
