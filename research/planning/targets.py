"""Hardware to compile for, by name: that of a vendor's compiler, which needs no accelerator, or simulated devices."""

import dataclasses
import importlib.util
import math
import os
import re
from typing import Any

import jax
from jax.experimental import topologies

from research.errors import UsageError, suggestion
from research.planning.chips import CHIPS, Chip
from research.planning.gpus import GPUS

GPUS_PER_HOST = 8
EXTRAS = {"tpu": "plan-tpu", "cuda": "plan-gpu"}

# Without them libtpu asks a cloud's metadata server what machine this is, writes logs to /tmp, warns, and refuses to be
# loaded by two processes at once.
LIBTPU = {
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",
    "TPU_LOG_DIR": "disabled",
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_WORKER_HOSTNAMES": "localhost",
}


@dataclasses.dataclass(frozen=True)
class Target:
    """So many chips of a kind, in the shape in which they are linked."""

    chip: Chip
    shape: tuple[int, ...]

    @property
    def devices(self) -> int:
        """How many devices a program sees."""
        return math.prod(self.shape) * self.chip.devices

    @property
    def hosts(self) -> int:
        """Machines with so many GPUs, which NVLink does not connect; 1 for all else, whose links are all alike."""
        return -(-self.devices // GPUS_PER_HOST) if self.chip.platform == "cuda" else 1

    def __str__(self) -> str:
        return f"{self.chip.name}:{'x'.join(map(str, self.shape))}"


@dataclasses.dataclass(frozen=True)
class Aim:
    """Devices to compile for; where their compiler is not installed they are simulated, and `missing` says so."""

    devices: tuple[Any, ...]
    missing: str | None = None


def parse_target(text: str) -> Target:
    """Return what "v5e:4x4", "v5p:2x2x1", "h100:8" or "cpu" names.

    Raises:
        UsageError: there is no such chip, or its chips do not come in such a shape.
    """
    name, _, shape = text.partition(":")
    if name not in CHIPS:
        raise UsageError(f'there is no chip "{name}" to plan for{suggestion(name, CHIPS)}')
    chip = CHIPS[name]
    if chip.platform == "tpu":
        if not re.fullmatch(r"[1-9]\d*(x[1-9]\d*){1,2}", shape):
            raise UsageError(f'"{text}" names no TPUs: give the shape of a slice, such as {name}:2x2 or {name}:4x4')
        sides = tuple(int(side) for side in shape.split("x"))
        if 1 not in sides[:2] and any(side % 2 for side in sides[:2]):
            raise UsageError(
                f"{name} does not come as {shape}: the first two sides are even, or one is 1, such as {name}:2x2"
            )
        return Target(chip, sides)
    if not re.fullmatch(r"([1-9]\d*)?", shape) or text.endswith(":"):
        raise UsageError(f'"{text}" names no devices: give their number, such as {name}:8')
    count = int(shape or 1)
    if chip.platform == "cuda" and count > GPUS_PER_HOST and count % GPUS_PER_HOST:
        raise UsageError(f"{count} GPUs are no whole machines of {GPUS_PER_HOST}: give a multiple of {GPUS_PER_HOST}")
    return Target(chip, (count,))


def aim(target: Target) -> Aim:
    """Return the devices of a target, or as many simulated ones where the vendor's compiler is not installed.

    To be called before anything is computed: the devices of a process are settled then.

    Raises:
        UsageError: the chips do not come in this shape, or more devices are to be simulated than this process has.
    """
    chip = target.chip
    if chip.platform == "cpu":
        return Aim(simulated(target.devices))
    if not installed(target):
        extra = EXTRAS[chip.platform]
        return Aim(
            simulated(target.devices),
            f"the compiler for {chip.name} is not installed (pip install 'ceteris-research[{extra}]'): this plan is "
            f"for {target.devices} simulated CPU devices, so activations and collectives are those of the CPU compiler",
        )
    _compute_on_cpu()
    jax.config.update("jax_enable_compilation_cache", False)  # what it keeps only the accelerator itself can read back
    return Aim(tuple(_tpus(target) if chip.platform == "tpu" else _gpus(target)))


def installed(target: Target) -> bool:
    """Return whether the compiler for a target is here."""
    if target.chip.platform == "tpu":
        return importlib.util.find_spec("libtpu") is not None
    return importlib.util.find_spec("jax_plugins") is not None and any(
        importlib.util.find_spec(f"jax_plugins.xla_{cuda}") is not None for cuda in ("cuda12", "cuda13")
    )


def simulated(count: int) -> tuple[Any, ...]:
    """Return so many CPU devices.

    Raises:
        UsageError: computation has begun in this process, with fewer.
    """
    _compute_on_cpu()
    try:
        set_so_far = jax.config.jax_num_cpu_devices  # type: ignore[attr-defined]
        if set_so_far < count and "force_host_platform" not in os.environ.get("XLA_FLAGS", ""):
            jax.config.update("jax_num_cpu_devices", count)
    except RuntimeError:
        pass  # said below, where there are too few
    devices = jax.devices("cpu")
    if len(devices) < count:
        raise UsageError(
            f"{count} CPU devices are to be simulated and this process has begun to compute with {len(devices)}: plan "
            f"before anything else, or set XLA_FLAGS=--xla_force_host_platform_device_count={count}"
        )
    return tuple(devices[:count])


def _compute_on_cpu() -> None:
    """Leave the accelerators of this machine alone: a plan takes none, and CUDA's compiler must not look for one."""
    jax.config.update("jax_platforms", "cpu")


def _tpus(target: Target) -> list[Any]:
    """Return the devices of a slice of TPUs; slices smaller than a host have hosts of their size."""
    for name, value in LIBTPU.items():
        os.environ.setdefault(name, value)
    options: dict[str, Any] = {"chip_config_name": "megacore"} if target.chip.name == "v4" else {}
    if 1 in target.shape[:2]:
        options["chips_per_host_bounds"] = (*target.shape, 1)[:3]
    try:
        return topologies.get_topology_desc(str(target), "tpu", **options).devices
    except jax.errors.JaxRuntimeError as error:
        raise UsageError(f"the TPU compiler knows no {target}: {str(error).splitlines()[0]}") from error


def _gpus(target: Target) -> list[Any]:
    """Return the devices of machines with GPUs."""
    hosts = target.hosts
    description = GPUS[target.chip.name].description()
    topology = f"1x{hosts}x{target.devices // hosts}"
    return topologies.get_topology_desc("", "cuda", topology=topology, target_config=description).devices
