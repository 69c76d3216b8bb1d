"""Commands in processes that may be killed: forked from one that has imported everything, so each begins at once.

ended = run(["--smoke", "--workdir", str(folder)], programs, fault=functools.partial(kill_in, "..."))

`programs` is the fixture of that name, a folder that keeps compiled programs between them. A `fault` is called in the
new process before the command and may change anything there; it is a function of a module, or a `functools.partial` of
one, since it travels by name. The process that is forked never touches a device: what JAX computes with does not
survive a fork.
"""

import dataclasses
import multiprocessing
import os
import runpy
import sys
import tempfile
from collections.abc import Callable, Sequence
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import jax

import experiments.digits_cnn  # noqa: F401 (with it comes what every command imports)

ROOT = Path(__file__).parents[2]
SWITCHES = ("jax_enable_compilation_cache", "jax_disable_most_optimizations")
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    [__name__, "orbax.checkpoint", "research.ablation.execution.running", "research.data.builders", "matplotlib.figure"]
)


@dataclasses.dataclass(frozen=True)
class Ended:
    """How a process ended: its exit code, or minus the number of the signal that killed it, and all it printed."""

    code: int
    text: str


def start(
    words: Sequence[str],
    programs: Path,
    fault: Callable[[], None] | None = None,
    experiment: str = "digits_cnn",
    log: Path | None = None,
) -> tuple[ForkServerProcess, Path]:
    """Start `python -m experiments.NAME WORDS` in a process forked for it; return that and where it prints to."""
    return call(_command, list(words), fault, experiment, programs=programs, log=log)


def call(
    function: Callable[..., None], *arguments: Any, programs: Path | None = None, log: Path | None = None
) -> tuple[ForkServerProcess, Path]:
    """Call a function of a module in a process forked for it; return that and where it prints to.

    Without `programs`, those of the whole suite are used: for what nobody kills.
    """
    if log is None:
        handle, name = tempfile.mkstemp(suffix=".log", dir=programs and programs.parent)
        os.close(handle)
        log = Path(name)
    # Where the process that forks finds its modules is settled when the first one starts.
    os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys([str(ROOT), *os.environ.get("PYTHONPATH", "").split(":")]))
    settings = {
        "jax_platforms": "cpu",
        "jax_compilation_cache_dir": str(programs or os.environ["JAX_COMPILATION_CACHE_DIR"]),
    }
    # The process that it is forked from has those of the test that came first.
    settings |= {name: os.environ[name.upper()] == "true" for name in SWITCHES}
    flags = os.environ.get("XLA_FLAGS", "")
    process = FORKS.Process(target=_call, args=(function, arguments, settings, flags, str(log)))
    process.start()
    return process, log


def finish(process: ForkServerProcess, log: Path, seconds: float = 120) -> Ended:
    """Wait for a process to end."""
    process.join(seconds)
    if process.exitcode is None:
        process.kill()
        raise AssertionError(f"still running after {seconds} s: {log.read_text()}")
    return Ended(process.exitcode, log.read_text())


def run(
    words: Sequence[str], programs: Path, fault: Callable[[], None] | None = None, experiment: str = "digits_cnn"
) -> Ended:
    """Run a command to its end."""
    return finish(*start(words, programs, fault, experiment))


def typed(module: str, words: Sequence[str], folder: str, environment: dict[str, str], errors: str) -> None:
    """Be `python -m MODULE WORDS`, typed in a folder, whose errors go to a file."""
    os.chdir(folder)
    os.environ.update(environment)
    os.dup2(os.open(errors, os.O_WRONLY | os.O_CREAT), 2)
    _run(module, words)


def _call(
    function: Callable[..., None], arguments: tuple[Any, ...], settings: dict[str, object], flags: str, log: str
) -> None:
    """Be the new process."""
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.environ["XLA_FLAGS"] = flags
    for name, value in settings.items():
        jax.config.update(name, value)
    function(*arguments)


def _command(words: list[str], fault: Callable[[], None] | None, experiment: str) -> None:
    """Be the command."""
    if fault is not None:
        fault()
    _run(f"experiments.{experiment}", words)


def _run(module: str, words: Sequence[str]) -> None:
    """Run a module as `python -m` does."""
    sys.argv = [module, *words]
    sys.modules.pop(module, None)  # or runpy warns of it
    runpy.run_module(module, run_name="__main__", alter_sys=True)
