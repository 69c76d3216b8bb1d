"""Several processes on this machine that train one run together, all started again when one of them is killed.

python -m research.launch --processes 2 --devices_per_process 4 -- python -m experiments.NAME train

Process 0 writes to this terminal, each of the others to a file, named as soon as something goes wrong. All are started
again, and resume from their last checkpoint, only after a signal has ended one of them: it was killed, had no memory
left, or was aborted by jax because another had gone. A program that ends with an error would do so again.

Exit codes: 0 all are done; 1 one has failed, or was killed once more than there are restarts; 2 bad usage; 75
interrupted: Ctrl-C or SIGTERM lets all save at the same step, and the same command resumes from there; 130 ended at
once by a second one.
"""

import contextlib
import dataclasses
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from research import command_lines
from research.children import INTERRUPTED, POLL_SECONDS, dying_with_this_process, signal_name, signals
from research.errors import UsageError
from research.interrupts import ends_at_ctrl_c

PATIENCE_SECONDS = 5  # for the others to say what they have to, after one has failed
SHOWN_LINES = 20


@dataclasses.dataclass(frozen=True)
class Launch:
    """Start a command in several processes that train one run together."""

    processes: int = 0
    """How many; must be given."""
    devices_per_process: int | None = None
    """Simulated CPU devices of each; default: what jax finds there."""
    restarts: int = 3
    """How often to start all again after one was killed."""
    logs: str | None = None
    """Folder for what the processes but 0 write; default: a temporary one, deleted unless something goes wrong."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    try:
        with ends_at_ctrl_c():
            launch, command = parse(list(sys.argv[1:] if arguments is None else arguments))
            with log_folder(launch.logs) as logs:
                return run(launch, command, logs)
    except UsageError as error:
        say(f"error: {error}")
        return 2


def parse(words: list[str]) -> tuple[Launch, list[str]]:
    """Return the flags and the command after ``--``. Raises `UsageError`."""
    flags, command = (words[: words.index("--")], words[words.index("--") + 1 :]) if "--" in words else (words, [])
    if "--" not in words and not {"-h", "--help"} & set(words):
        raise UsageError("put -- before the command: --processes 2 -- python -m experiments.NAME")
    launch = command_lines.parse(Launch, args=flags, prog="python -m research.launch", description=__doc__)
    for name, least in (("processes", 1), ("devices_per_process", 1), ("restarts", 0)):
        value = getattr(launch, name)
        if value is not None and value < least:
            raise UsageError(f"--{name} must be at least {least}, not {value}")
    if not command:
        raise UsageError("there is no command after --")
    if shutil.which(command[0]) is None:
        raise UsageError(f'there is no program "{command[0]}"')
    return launch, command


class Logs:
    """A folder with the output of every process but the first."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.named = folder, False

    def path(self, index: int) -> Path:
        """Return the file of one process."""
        return self.folder / f"process-{index}.log"

    def mention(self) -> str:
        """Return the end of a sentence that says where they are, where there are some."""
        self.named = self.path(1).exists()
        return f"; what the others wrote is in {self.folder}" if self.named else ""

    def last_lines(self, index: int) -> str:
        """Return the end of what a process wrote."""
        return "\n".join(self.path(index).read_text(errors="replace").splitlines()[-SHOWN_LINES:])


@contextlib.contextmanager
def log_folder(given: str | None) -> Iterator[Logs]:
    """Give the folder of the logs: the one given, or a temporary one, deleted in the end if nobody was told of it."""
    if given is not None:
        try:
            Path(given).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"cannot write to {given}: {error.strerror}; choose another --logs") from error
        yield Logs(Path(given))
        return
    logs = Logs(Path(tempfile.mkdtemp(prefix="launch-")))
    try:
        yield logs
    finally:
        if not logs.named:
            shutil.rmtree(logs.folder)


def run(launch: Launch, command: list[str], logs: Logs) -> int:
    """Run until all processes are done, failed or interrupted; return the exit code."""
    with signals("all processes save and end; once more ends them at once") as received:
        restarts = 0
        while True:
            with ProcessGroup(launch, command, logs) as group:
                cause = group.wait(received)
                codes = group.codes()
            if len(received) > 1:
                return 128 + signal.SIGINT
            if cause is None:
                return INTERRUPTED if INTERRUPTED in codes else 0
            code = codes[cause]
            if code > 0:
                return failed(cause, code, codes, logs)
            if received or INTERRUPTED in codes:  # all have saved before the first of them ends so
                return INTERRUPTED
            ended = f"process {cause} was ended by {signal_name(-code)}"
            if restarts == launch.restarts:
                return failed(cause, code, codes, logs, f"{ended}, after {restarts} restarts")
            restarts += 1
            say(f"{ended}; starting all again ({restarts} of {launch.restarts}){logs.mention()}")


def failed(cause: int, code: int, codes: list[int], logs: Logs, reason: str = "") -> int:
    """Say what a process ended with and its last lines, unless the terminal shows them; return the exit code."""
    if code == 2 and codes[0] == 2:  # it has said what is wrong with the command
        return 2
    say(f"{reason or f'process {cause} failed with exit code {code}'}{logs.mention()}")
    if cause and (lines := logs.last_lines(cause)):
        say(f"its last lines:\n{lines}")
    return 2 if code == 2 else 1


class ProcessGroup:
    """All processes, from one start to its end; leaving the context kills those that are left, and their children."""

    def __init__(self, launch: Launch, command: list[str], logs: Logs) -> None:
        self._ended: dict[int, int] = {}
        self._processes: list[subprocess.Popen[bytes]] = []
        shared = environment(os.environ, launch, free_port())
        for index in range(launch.processes):
            with logs.path(index).open("ab") if index else contextlib.nullcontext() as output:
                try:
                    process = subprocess.Popen(
                        command,
                        env={**shared, "JAX_PROCESS_ID": str(index)},
                        stdin=subprocess.DEVNULL,
                        stdout=output,
                        stderr=output,
                        start_new_session=True,  # or Ctrl-C in the terminal would come to each of them too
                        preexec_fn=dying_with_this_process(),
                    )
                except OSError as error:  # such as a script without its first line; the first process meets it already
                    raise UsageError(f'"{command[0]}" cannot be run: {error.strerror}') from error
            self._processes.append(process)

    def wait(self, received: list[int]) -> int | None:
        """Wait for all, handing on a signal; return the process that failed first, None where none did.

        The others are then given a moment to end by themselves.
        """
        asked, cause, deadline = False, None, float("inf")
        while len(self._ended) < len(self._processes) and len(received) < 2 and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
            if received and not asked:
                asked = True
                self._ask_to_stop()
            new = {
                index: process.returncode
                for index, process in enumerate(self._processes)
                if index not in self._ended and process.poll() is not None
            }
            self._ended |= new
            bad = {index: code for index, code in new.items() if code not in (0, INTERRUPTED)}
            if cause is None and bad:
                # One that was killed goes first: an error of another, seen at the same time, comes from it. Else 0 goes
                # last: what it says is on the terminal anyway.
                cause = min(bad, key=lambda index: (bad[index] > 0, index == 0, index))
                deadline = time.monotonic() + (PATIENCE_SECONDS if bad[cause] > 0 else 0)
        return cause

    def _ask_to_stop(self) -> None:
        """Let all save at the same step and end: one that is asked tells all, and what jax says then goes to a file."""
        for process in self._processes[1:] or self._processes:
            process.terminate()

    def codes(self) -> list[int]:
        """Return the exit codes, 0 for those that have not ended."""
        return [self._ended.get(index, 0) for index in range(len(self._processes))]

    def __enter__(self) -> "ProcessGroup":
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        for process in self._processes:
            process.wait()


def environment(before: Mapping[str, str], launch: Launch, port: int) -> dict[str, str]:
    """Return the environment of every process but for its number."""
    address = f"127.0.0.1:{port}"
    after = {
        "JAX_PLATFORMS": "cpu",  # several processes cannot share an accelerator
        **before,
        "JAX_COORDINATOR_ADDRESS": address,
        "JAX_COORDINATOR_BIND_ADDRESS": address,  # or it would listen to the network
        "JAX_NUM_PROCESSES": str(launch.processes),
    }
    if {"http_proxy", "https_proxy", "grpc_proxy"} & before.keys():
        after["no_grpc_proxy"] = "127.0.0.1"  # through a proxy the processes would not find each other
        after["JAX_CHECK_PROXY_ENVS"] = "false"  # jax warns of every such variable
    if launch.devices_per_process is not None:
        after["JAX_NUM_CPU_DEVICES"] = str(launch.devices_per_process)
        flags = [flag for flag in after.get("XLA_FLAGS", "").split() if "host_platform_device_count" not in flag]
        after["XLA_FLAGS"] = " ".join(flags)
    return after


def free_port() -> int:
    """Return a port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def say(text: str) -> None:
    """Print to standard error."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
