"""Compiling a pure step for the devices at hand, once per program: for one run, or for several together."""

import functools
import inspect
from collections.abc import Callable
from typing import Any, Literal, ParamSpec, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from research.devices.cpu.compiler import compiler_options
from research.devices.layout import ONE_DEVICE, Layout
from research.layers.replicas import REPLICAS

P = ParamSpec("P")
T = TypeVar("T")

SweepMode = Literal["vmap", "map", "shard"]


# On a CPU, level 1 compiled the initial states of four model families in a third to all of the time of the default
# level, to the same bits.
ONCE = {"xla_backend_optimization_level": 1}


def once_per_program(compile: Callable[P, T]) -> Callable[P, T]:
    """Remember what a function compiled, whether an argument is given by name, by position or left out."""
    signature, remembered = inspect.signature(compile), functools.lru_cache(maxsize=128)(compile)

    @functools.wraps(compile)
    def found(*arguments: P.args, **named: P.kwargs) -> T:
        bound = signature.bind(*arguments, **named)
        bound.apply_defaults()
        return remembered(*bound.args, **bound.kwargs)

    return found


@once_per_program
def compile_for(
    step: Callable[..., Any],
    program: Any,
    layout: Layout = ONE_DEVICE,
    out_shardings: Any = "everywhere",
    donate_state: bool = False,
    once: bool = False,
) -> Any:
    """Return `step(program, ...)` compiled for the devices of a layout, as a function of the remaining arguments.

    Equal programs share one compiled function, so a new learning rate or seed compiles nothing.

    Args:
        step, program: a pure function and its first argument, which is hashable.
        layout: where the arguments lie; those that lie nowhere yet are taken everywhere.
        out_shardings: where the results go: a `Part`, or a tuple of them.
        donate_state: give the memory of the second remaining argument to the results.
        once: compile sooner rather than to run fast.
    """
    return jax.jit(
        _bound(step, program, lambda outputs: layout.constrained(out_shardings, outputs)),
        donate_argnums=(1,) if donate_state else (),
        compiler_options=_compiler_options(layout.platform, once),
    )


@once_per_program
def compile_replicas(step: Callable[..., Any], program: Any, layout: Layout, donate_state: bool = False) -> Any:
    """Return `step(program, hyperparameters, state, batch)` compiled by `pmap`: each device computes its rows.

    State and batch have a leading axis of devices, as have the results; the step adds up over `REPLICAS` itself. On a
    CPU convolutions are the library's (`devices.cpu.compiler`), as `pmap` takes no options of the compiler.
    """
    assert layout.mesh is not None
    return jax.pmap(
        _bound(step, program),
        axis_name=REPLICAS,
        in_axes=(None, 0, 0),
        devices=list(layout.mesh.devices.flat),
        donate_argnums=(1,) if donate_state else (),
    )


@once_per_program
def compile_together(
    step: Callable[..., Any], program: Any, mode: SweepMode, axes: tuple[Any, ...], donate_state: bool = False
) -> Any:
    """Return `step(program, ...)` compiled for several runs at once, as a function of the remaining arguments.

    Args:
        step, program, donate_state: as for `compile_for`.
        mode: "vmap" computes all runs in one; "map" one after the other inside one call; "shard" divides them among all
            devices, which do not communicate, and computes those of one device as "vmap" does.
        axes: for each argument 0 where every run has its own, stacked along a first axis, and None where all share one;
            or a tree of these, a prefix of the argument. What is returned is stacked.
    """
    several = {"vmap": _vmap, "map": _map, "shard": _shard}[mode](_bound(step, program), axes)

    def together(*arguments: Any) -> Any:
        return several(*arguments)

    together.__name__ = step.__name__
    shardings = _per_axis(axes, lambda spec: NamedSharding(trial_mesh(), spec)) if mode == "shard" else None
    return jax.jit(
        together,
        donate_argnums=(1,) if donate_state else (),
        in_shardings=shardings,
        compiler_options=_compiler_options(jax.default_backend()),
    )


@functools.cache
def trial_mesh() -> Mesh:
    """Return all devices along one axis, `trial`."""
    return Mesh(np.array(jax.devices()), ("trial",))


def replicate(array: Any) -> jax.Array:
    """Return `array` on every device."""
    return jax.device_put(array, NamedSharding(trial_mesh(), PartitionSpec()))


def _compiler_options(platform: str, once: bool = False) -> dict[str, Any] | None:
    """Return what a compiler is told beside its defaults: on a CPU alone, for others do not know these options."""
    return {**compiler_options(), **(ONCE if once else {})} if platform == "cpu" else None


def _bound(
    step: Callable[..., Any], program: Any, then: Callable[[Any], Any] = lambda outputs: outputs
) -> Callable[..., Any]:
    """Return `step` with its program given, under its own name, which profiles and compilation logs show."""

    def bound(*arguments: Any) -> Any:
        return then(step(program, *arguments))

    bound.__name__ = step.__name__
    return bound


def _vmap(one: Callable[..., Any], axes: tuple[Any, ...]) -> Callable[..., Any]:
    """Return `one` for stacked arguments, vectorised."""
    return jax.vmap(one, in_axes=axes)


def _map(one: Callable[..., Any], axes: tuple[Any, ...]) -> Callable[..., Any]:
    """Return `one` for stacked arguments, one after the other."""

    def mapped(*arguments: Any) -> Any:
        return jax.lax.map(lambda index: one(*_taken(axes, arguments, index)), jnp.arange(_count(axes, arguments)))

    return mapped


def _shard(one: Callable[..., Any], axes: tuple[Any, ...]) -> Callable[..., Any]:
    """Return `one` for stacked arguments, divided among all devices."""

    def local(*arguments: Any) -> Any:
        if _count(axes, arguments) > 1:
            return jax.vmap(one, in_axes=axes)(*arguments)
        # A vectorised convolution of one run is a grouped one all the same, which is slower.
        return jax.tree.map(lambda leaf: leaf[None], one(*_taken(axes, arguments, 0)))

    specs = _per_axis(axes, lambda spec: spec)
    # Nothing is replicated in the results, so there is nothing for check_vma to check.
    return jax.shard_map(local, mesh=trial_mesh(), in_specs=specs, out_specs=PartitionSpec("trial"), check_vma=False)


def _per_axis(axes: tuple[Any, ...], convert: Callable[[PartitionSpec], Any]) -> Any:
    """Return `axes` with the partition of each argument in place of its axis."""
    return jax.tree.map(lambda axis: convert(PartitionSpec(*(["trial"] * (axis == 0)))), axes, is_leaf=_is_none)


def _taken(axes: tuple[Any, ...], arguments: tuple[Any, ...], index: Any) -> Any:
    """Return the arguments of one run."""

    def take(axis: int | None, argument: Any) -> Any:
        return argument if axis is None else jax.tree.map(lambda leaf: leaf[index], argument)

    return jax.tree.map(take, axes, arguments, is_leaf=_is_none)


def _count(axes: tuple[Any, ...], arguments: tuple[Any, ...]) -> int:
    """Return how many runs the arguments are of."""
    parts = jax.tree.map(lambda axis, part: None if axis is None else part, axes, arguments, is_leaf=_is_none)
    return len(jax.tree.leaves(parts)[0])


def _is_none(axis: Any) -> bool:
    """Return whether an argument is shared."""
    return axis is None
