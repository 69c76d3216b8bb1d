"""Workers on the nodes of a Ray cluster."""

import logging
import os
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

from research.errors import RunError, UsageError


def run(words: Sequence[str], count: int, address: str | None, parameters: Mapping[str, Any]) -> None:
    """Run a command in `count` processes spread over the nodes of a cluster, in this directory, and wait for them.

    Args:
        words: the command line of a worker.
        count: processes.
        address: of the cluster; None asks RAY_ADDRESS, or looks for one on this machine.
        parameters: options of a Ray task, such as num_cpus (1 unless given), num_gpus and memory.

    Raises:
        UsageError: Ray is not installed, there is no cluster, or a parameter is unknown or does not fit.
        RunError: a worker failed; quotes its last line.
    """
    try:
        import ray
    except ImportError:
        raise UsageError('--engine ray needs ray: pip install "ceteris-research[ray]"') from None
    try:
        ray.init(
            address=address or os.environ.get("RAY_ADDRESS", "auto"), log_to_driver=False, logging_level=logging.ERROR
        )
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise UsageError(
            f"there is no Ray cluster at {address or 'this machine'}; `ray start --head` starts one"
        ) from error
    try:
        try:
            task = ray.remote(**{"num_cpus": 1, "scheduling_strategy": "SPREAD", **parameters})(subprocess.run)
        except (ValueError, TypeError, AssertionError) as error:
            raise UsageError(f"--ray: {str(error).splitlines()[0]}") from error
        where = os.getcwd()
        started = [
            task.remote(list(words), cwd=where, stdin=subprocess.DEVNULL, capture_output=True, text=True)
            for _ in range(count)
        ]
        try:
            ended = ray.get(started)
        except ray.exceptions.RayError as error:
            raise RunError(f"a worker was lost: {str(error).splitlines()[0]}; the same command resumes") from error
    finally:
        ray.shutdown()
    if failed := [process for process in ended if process.returncode]:
        last = (failed[0].stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise RunError(f"{len(failed)} of {count} workers failed, the first with: {last}")
