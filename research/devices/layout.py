"""Where the arrays of a run lie: the state by shape and by the rules of the model, the batch by rows."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from research.data import IndexedBatch
from research.devices.mesh import BATCH, make_mesh
from research.errors import UsageError
from research.experiment import Experiment, Placement
from research.layers.partition import Rules, partition_spec
from research.layers.replicas import REPLICAS
from research.models.model import as_model

Part = Literal["state", "batch", "everywhere"]


@dataclasses.dataclass(frozen=True)
class Layout:
    """Devices and who holds what; equal layouts share compiled programs.

    Without a `mesh` all is on one device, where JAX puts it.
    """

    mesh: Mesh | None = None
    rules: Rules = ()
    method: Literal["jit", "pmap"] = "jit"

    @property
    def parts(self) -> int:
        """Into how many parts a batch is divided."""
        return 1 if self.mesh is None else self.mesh.shape["data"] * self.mesh.shape["fsdp"]

    @property
    def devices(self) -> int:
        """How many devices take part."""
        return 1 if self.mesh is None else self.mesh.size

    @property
    def platform(self) -> str:
        """What kind of devices they are: ``cpu``, ``gpu`` or ``tpu``; they need not be here."""
        return jax.default_backend() if self.mesh is None else str(self.mesh.devices.flat[0].platform)

    def jitted(self) -> "Layout":
        """Return the layout of programs that run between training steps: of replicas, the one of their first device."""
        return ONE_DEVICE if self.method == "pmap" else self

    def shardings(self, tree: Any, part: Part = "state") -> Any:
        """Return the sharding of every leaf of a tree, abstract or not. Needs a mesh."""
        mesh = self.mesh
        assert mesh is not None

        def sharding(path: Any, leaf: Any) -> NamedSharding:
            """Return the sharding of a leaf."""
            if part != "state":
                return NamedSharding(mesh, PartitionSpec(BATCH) if part == "batch" else PartitionSpec())
            name = jax.tree_util.keystr(path, simple=True, separator=".")
            return NamedSharding(mesh, partition_spec(self.rules, name, leaf.shape, mesh.shape))

        return jax.tree_util.tree_map_with_path(sharding, tree)

    def described(self, tree: Any, part: Part = "state") -> Any:
        """Return an abstract tree with the shardings that its arrays are to have. Needs a mesh."""
        return jax.tree.map(
            lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
            tree,
            self.shardings(tree, part),
        )

    def constrained(self, out_shardings: Any, outputs: Any) -> Any:
        """Return traced `outputs` laid out as the tree of parts `out_shardings`, a prefix of them, says."""
        if self.mesh is None:
            return outputs

        def constrain(part: Part, tree: Any) -> Any:
            """Lay out one part."""
            return jax.lax.with_sharding_constraint(tree, self.shardings(tree, part))

        return jax.tree.map(constrain, out_shardings, outputs)

    def put(self, tree: Any, part: Part = "state") -> Any:
        """Return a tree of whole arrays, the same in every process, laid out over the devices."""
        if self.mesh is None:
            return jax.tree.map(jax.numpy.asarray, tree)
        return jax.tree.map(_put, tree, self.shardings(tree, part))

    def __str__(self) -> str:
        """Return the axes in words, nothing for one device: `` as data 4 x fsdp 2``."""
        if self.mesh is None:
            return ""
        axes = " x ".join(f"{name} {size}" for name, size in self.mesh.shape.items() if size > 1)
        return f" as {axes or 'data 1'}{' by pmap' if self.method == 'pmap' else ''}"

    def numbers(self, tree: Any) -> Any:
        """Return Python numbers, the same in every process, on every device; they stay weakly typed."""
        if self.method == "pmap":  # it takes them as they are, and nothing that lies on a mesh other than its own
            return tree
        if self.mesh is None:
            return jax.device_put(tree)
        return jax.jit(lambda tree: tree, out_shardings=NamedSharding(self.mesh, PartitionSpec()))(tree)

    def rows(self, batch_size: int) -> slice | np.ndarray:
        """Return which rows of a global batch the devices of this process hold: of a pod they need not be adjacent."""
        if self.mesh is None:
            return slice(0, batch_size)
        spans = NamedSharding(self.mesh, PartitionSpec(BATCH)).addressable_devices_indices_map((batch_size,)).values()
        bounds = sorted({span[0].indices(batch_size)[:2] for span in spans if span is not None})
        return np.concatenate([np.arange(start, stop) for start, stop in bounds])

    def feed(self, feed: Any, stacked: bool = False) -> Any:
        """Return the rows of this process as a part of the global batch; `stacked` are those of several steps."""
        if self.mesh is None:
            return feed
        if isinstance(feed, IndexedBatch):
            return feed._replace(indices=self.feed(feed.indices, stacked))
        sharding = NamedSharding(self.mesh, PartitionSpec(*[None] * stacked, BATCH))
        return jax.tree.map(lambda rows: jax.make_array_from_process_local_data(sharding, rows), feed)

    def everywhere(self) -> Callable[[np.ndarray], jax.Array]:
        """Return the function that puts an array on every device; the same one for equal meshes."""
        return jax.device_put if self.mesh is None else _everywhere(self.mesh)


ONE_DEVICE = Layout()


def replicated(state: Any, layout: Layout) -> Any:
    """Return whole arrays with a copy for each replica, [n, ...] each."""
    assert layout.mesh is not None
    sharding = NamedSharding(Mesh(layout.mesh.devices.reshape(-1), (REPLICAS,)), PartitionSpec(REPLICAS))
    return jax.tree.map(
        lambda leaf: jax.device_put(np.broadcast_to(leaf, (layout.devices, *np.shape(leaf))), sharding), state
    )


def first_replica(tree: Any) -> Any:
    """Return what the first replica holds of arrays [n, ...] that are the same on all."""
    # A program would be compiled for every shape by `leaf[0]` of a jax array.
    return jax.tree.map(lambda leaf: np.asarray(leaf.addressable_data(0))[0], tree)


def lay_out(
    experiment: Experiment, placement: Placement, devices: Sequence[Any] | None = None, trains: bool = True
) -> Layout:
    """Return the layout of a run over `devices`; by default over all there are.

    What does not train pads its batches, so that any devices can share them.

    Raises:
        UsageError: as for `make_mesh`; also where a method or an axis is not for this model, or these processes.
    """
    rules = as_model(experiment.model).partition
    if placement.tensor > 1 and not rules:
        # Besides, XLA's gradients of grouped convolutions are wrong where an axis of the mesh leaves the batch whole.
        raise UsageError(f"{type(experiment.model).__name__} has no matrices to divide: set placement.tensor to 1")
    if placement.method == "pmap" and trains and not experiment.task.additive:
        raise UsageError(
            f"the loss of {type(experiment.task).__name__} is none of single examples, and under pmap each device "
            "has only its own: set placement.method to jit"
        )
    examples = experiment.batch_size // experiment.accumulation if trains else None
    mesh = make_mesh(placement, jax.devices() if devices is None else devices, examples)
    if mesh.size == 1 and devices is None:
        return ONE_DEVICE
    if placement.method == "pmap" and jax.process_count() > 1:
        raise UsageError("pmap shares a batch among the devices of one process: set placement.method to jit")
    return Layout(mesh, rules, placement.method)


def _put(array: Any, sharding: NamedSharding) -> jax.Array:
    """Return an array that every process has, divided over the devices of all; one that already is stays."""
    if sharding.is_fully_addressable:
        return jax.device_put(array, sharding)
    if isinstance(array, jax.Array) and not array.is_fully_addressable:
        return array
    host = np.asarray(array)
    return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])


@functools.cache
def _everywhere(mesh: Mesh) -> Callable[[np.ndarray], jax.Array]:
    """Return the function that puts an array on every device of a mesh."""
    return functools.partial(_put, sharding=NamedSharding(mesh, PartitionSpec()))
