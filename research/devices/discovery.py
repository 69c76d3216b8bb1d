"""Which of several processes this one is, and whether it is one of several at all.

In a cluster `jax.distributed.initialize` finds which. Whether to call it has to be known before: where there is no
cluster it raises `ValueError`, and a job of one process or a single TPU host it would connect with itself.
"""

import dataclasses
import urllib.request
from collections.abc import Mapping
from typing import Any

from research.errors import UsageError

METADATA_SECONDS = 1  # on a host that has no such service, which jax asks six times for up to a minute


@dataclasses.dataclass(frozen=True)
class Processes:
    """Which of several processes this one is; found by itself under `research.launch`, Slurm and on a TPU pod."""

    coordinator: str | None = None
    """HOST:PORT where process 0 listens and all can reach it."""
    count: int | None = None
    """How many processes there are."""
    index: int | None = None
    """Which one this is, from 0 on."""


FLAGS = ("--processes.coordinator", "--processes.count", "--processes.index")
VARIABLES = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")  # jax itself reads the first


def find(processes: Processes, environment: Mapping[str, str], tpu: bool) -> Processes | None:
    """Return which of several processes this is, None where it is alone; what is None in it jax finds by itself.

    In this order: what is given, the variables that `research.launch` sets, a Slurm step of several tasks, and a TPU
    pod where this is a TPU host. Raises `UsageError` where only a part is given.
    """
    if processes != Processes():
        return _complete(dict(zip(FLAGS, dataclasses.astuple(processes), strict=True)))
    coordinator, count, index = VARIABLES
    address = environment.get(coordinator)
    if count in environment or index in environment:
        return _complete({coordinator: address, count: environment.get(count), index: environment.get(index)})
    # SLURM_NTASKS is also set in a batch script, which is one process that starts the steps.
    if int(environment.get("SLURM_STEP_NUM_TASKS", 1)) > 1 or (tpu and _in_a_pod(environment)):
        return Processes(address)
    return _complete({coordinator: address, count: None, index: None}) if address else None


def _complete(named: dict[str, Any]) -> Processes:
    """Return three values, given under these names. Raises `UsageError` where they are not right."""
    if missing := [name for name, value in named.items() if value is None]:
        given = [name for name in named if name not in missing]
        raise UsageError(f"{' and '.join(given)} needs {' and '.join(missing)} too")
    (coordinator, address), *numbers = named.items()
    if not str(address).rpartition(":")[0] or not address.rpartition(":")[2].isdecimal():
        raise UsageError(f'{coordinator} must be HOST:PORT, not "{address}"')
    for name, value in numbers:
        if not str(value).isdecimal():
            raise UsageError(f'{name} must be a number from 0 on, not "{value}"')
    (_, count), (name, index) = numbers
    if int(index) >= int(count):
        raise UsageError(f"{name} must be less than the number of processes, {count}, not {index}")
    return Processes(address, int(count), int(index))


def _in_a_pod(environment: Mapping[str, str]) -> bool:
    """Return whether a TPU host is one of several."""
    hosts = environment.get("TPU_PROCESS_ADDRESSES") or environment.get("TPU_WORKER_HOSTNAMES") or ""
    if not hosts and "TPU_SKIP_MDS_QUERY" not in environment:
        hosts = _endpoints(environment.get("GCE_METADATA_IP", "metadata.google.internal"))
    return "," in hosts or int(environment.get("MEGASCALE_NUM_SLICES") or 1) > 1


def _endpoints(service: str) -> str:
    """Return the hosts of this pod as Google Cloud's metadata service lists them, or nothing where there is none."""
    url = f"http://{service}/computeMetadata/v1/instance/attributes/worker-network-endpoints"
    request = urllib.request.Request(url, headers={"Metadata-Flavor": "Google"})
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=METADATA_SECONDS) as it:
            return str(it.read().decode())
    except OSError:
        return ""
