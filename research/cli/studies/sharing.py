"""The processes that share the work of the command `ablate`: here, as Slurm jobs, or on a Ray cluster."""

import contextlib
from collections.abc import Callable
from pathlib import Path

from research.ablation.execution.engines import ray_engine, slurm_engine
from research.ablation.execution.engines.workers import command, processes, settings
from research.cli.studies.flags import Ablate
from research.training import Interrupted
from research.training.faults.guard import interruptible


def share(arguments: Ablate, workdir: Path, work: Callable[[], object]) -> bool:
    """Let the workers asked for do some work, this process among them where they are local; wait for them.

    Return whether this process is the one to report, now.
    """
    if arguments.worker:
        with interruptible(silent=True), contextlib.suppress(Interrupted):  # the process that reports says so
            work()
        return False
    workers = arguments.workers or 1
    words = command(workers)
    if arguments.engine == "local":
        with processes(words, workers):
            work()
        return True
    if arguments.engine == "ray":
        ray_engine.run(words, workers, arguments.address, settings(arguments.ray, "--ray"))
        return True
    logs = workdir / "slurm"
    jobs = slurm_engine.submit(words, workers, logs, settings(arguments.slurm, "--slurm"))
    print(f"submitted {', '.join(job.job_id for job in jobs)}; logs are in {logs}", flush=True)
    if arguments.detach:
        print("the same command without --engine and --detach does here what they left, and shows what came of it")
        return False
    slurm_engine.wait(jobs)
    return True
