"""Workers as Slurm jobs, through submitit."""

import contextlib
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from research.errors import RunError, UsageError

PAUSE = 2.0  # seconds between two looks at the jobs; submitit itself asks Slurm once a minute at most
MINUTES = 60  # of a job, unless told otherwise: submitit's own default of 5 is too short for most studies


class Worker:
    """A command as a job. One that runs out of time, or is preempted, is queued again and resumes."""

    def __init__(self, words: Sequence[str]) -> None:
        self.words = tuple(words)

    def __call__(self) -> None:
        """Run the command; its output is the log of the job. Raises `CalledProcessError` where it fails."""
        with subprocess.Popen(self.words) as process:
            try:
                code = process.wait()
            finally:
                process.terminate()  # where the queue ends this job: the command saves
        if code:
            raise subprocess.CalledProcessError(code, self.words)

    def checkpoint(self) -> Any:
        """Return what to queue when this job is cut short."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def submit(words: Sequence[str], count: int, folder: Path, parameters: Mapping[str, Any]) -> list[Any]:
    """Submit `count` jobs, as one array, that each run a command in this directory; return submitit's jobs.

    Args:
        words: the command line of a worker.
        count: jobs.
        folder: where logs go; jobs must see it.
        parameters: of submitit's executor: timeout_min, mem_gb, cpus_per_task, gpus_per_node, nodes, and any other of
            sbatch, such as partition. `cluster` "local" runs the jobs as processes of this machine.

    Raises:
        UsageError: submitit is not installed, there is no Slurm here, or a parameter is unknown or does not fit.
    """
    try:
        import submitit
    except ImportError:
        raise UsageError('--engine slurm needs submitit: pip install "ceteris-research[slurm]"') from None
    given = dict(parameters)
    cluster = given.pop("cluster", "slurm")
    if cluster not in ("slurm", "local"):
        raise UsageError(f'--slurm cluster={cluster}: a cluster is "slurm", or "local" to try the command out')
    try:
        executor = submitit.AutoExecutor(folder, cluster=cluster)
    except RuntimeError as error:
        raise UsageError(f"there is no Slurm here ({error}); --slurm cluster=local tries the command out") from error
    shared = executor._valid_parameters()  # nothing public tells them from those of sbatch
    named = {key if key in shared else f"slurm_{key}": value for key, value in given.items()}
    try:
        executor.update_parameters(**({"name": "ceteris", "timeout_min": MINUTES} | named))
    except (NameError, ValueError, TypeError, AssertionError) as error:
        raise UsageError(f"--slurm: {str(error).splitlines()[0]}") from error
    with executor.batch():
        return [executor.submit(Worker(words)) for _ in range(count)]


def wait(jobs: Sequence[Any]) -> None:
    """Wait until jobs have ended; they are cancelled where this process is stopped.

    Raises:
        RunError: one failed; says where its log is.
    """
    try:
        while not all(job.done() for job in jobs):
            time.sleep(PAUSE)
    except BaseException:
        for job in jobs:
            with contextlib.suppress(Exception):
                job.cancel(check=False)
        raise
    if failed := [job for job in jobs if job.exception() is not None]:
        raise RunError(
            f"{len(failed)} of {len(jobs)} jobs failed, first {failed[0].job_id}, whose log is "
            f"{failed[0].paths.stderr}; the same command resumes"
        )
