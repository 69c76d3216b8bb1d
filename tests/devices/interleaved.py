"""Two processes of two devices that take turns in the mesh, as those of a TPU pod may: each feeds its own rows.

python -m tests.devices.interleaved, in each process.
"""

import jax
import numpy as np
from jax.sharding import Mesh

from research.devices import Layout, join
from research.devices.mesh import AXES


def check(devices: list[jax.Device], shape: tuple[int, ...]) -> None:
    """Check that the global batch is what one process would have, singly and stacked."""
    layout, batch = Layout(Mesh(np.array(devices).reshape(shape), AXES)), np.arange(8)
    local = batch[layout.rows(8)]
    single = layout.feed({"row": local})["row"]
    stacked = layout.feed({"row": np.stack([local, local + 100])}, stacked=True)["row"]
    for found, wanted in ((single, batch), (stacked, np.stack([batch, batch + 100]))):
        assert found.shape == wanted.shape
        for part in found.addressable_shards:
            np.testing.assert_array_equal(part.data, wanted[part.index])


if __name__ == "__main__":
    join()
    a, b, c, d = jax.devices()
    for order in ([a, c, b, d], [b, c, d, a], [d, b, a, c]):
        for shape in ((4, 1, 1), (2, 2, 1), (2, 1, 2)):
            check(order, shape)
    print("holds")
