"""What goes wrong in a process at an exact moment, for `forking.run`: each changes something before the command begins.

Moments are named by what the run is doing, not by the clock, so that a test hits the same one on any machine.
"""

import errno
import functools
import os
import resource
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any


def strike(number: int) -> None:
    """Send this process a signal; one that can be handled is, by the time this returns or soon after."""
    os.kill(os.getpid(), number)


def once(act: Callable[[], None]) -> Callable[[], None]:
    """Return what acts the first time that it is called."""
    left = [act]

    def acted() -> None:
        if left:
            left.pop()()

    return acted


def around(module: Any, name: str, before: Callable[[], None], after: Callable[[], None] = lambda: None) -> None:
    """Let a function of a module do something before and after."""
    function = getattr(module, name)

    @functools.wraps(function)
    def changed(*arguments: Any, **keywords: Any) -> Any:
        before()
        found = function(*arguments, **keywords)
        after()
        return found

    setattr(module, name, changed)


def before_the_first_state(number: int) -> None:
    """Strike before anything is computed."""
    from research.training import run

    around(run, "first_state", lambda: strike(number))


def while_compiling(number: int) -> None:
    """Strike between tracing and compilation of the training step."""
    from jax import monitoring

    from research.training import run

    begun: list[bool] = []
    around(run, "compiled_train_step", lambda: begun.append(True))
    hit = once(lambda: strike(number))

    def lowered(event: str, seconds: float, **details: Any) -> None:
        if begun and event.endswith("jaxpr_to_mlir_module_duration"):
            hit()

    monitoring.register_event_duration_secs_listener(lowered)


def at_step(number: int, step: int) -> None:
    """Strike after a step is dispatched."""
    from research.training.display.progress import Lines

    advance = Lines.advance

    def struck(self: Lines, reached: int) -> None:
        advance(self, reached)
        if reached == step:
            strike(number)

    Lines.advance = struck


def in_evaluation(number: int) -> None:
    """Strike in the first evaluation, between its batches and its sum."""
    from research.training.evaluation import RunningSums

    around(RunningSums, "total", once(lambda: strike(number)))


def in_a_save(number: int, step: int, name: str, after: bool = False) -> None:
    """Strike in the thread that saves, before or after a part of the checkpoint of a step gets its name."""
    from orbax.checkpoint._src.path import async_path

    rename = async_path.rename

    async def struck(source: Any, target: Any) -> Any:
        here = f"latest/{step}" in str(source) and Path(str(target)).name == name
        if here and not after:
            strike(number)
        done = await rename(source, target)
        if here and after:
            strike(number)
        return done

    async_path.rename = struck


def files_no_larger_than(size: int, step: int) -> None:
    """From the save of a step on, let every write beyond so many bytes of a file fail, as on a disk that is full."""
    from research.training.storage.checkpoints.checkpoint import Checkpoints

    save = Checkpoints.save

    def limited(self: Checkpoints, kind: Any, state: Any, *beside: Any) -> None:
        if int(state.step) == step:
            self.wait()  # what was saved before is on disk
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
        save(self, kind, state, *beside)

    Checkpoints.save = limited


def full_disk_for(name: str, failures: int = 1) -> None:
    """Let so many attempts to open a file of this name for writing fail as on a full disk."""
    left = [failures]
    plain = Path.open

    def opened(self: Path, mode: str = "r", *arguments: Any, **keywords: Any) -> Any:
        if self.name.endswith(name) and set(mode) & set("wa+") and left[0]:
            left[0] -= 1
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self))
        return plain(self, mode, *arguments, **keywords)

    Path.open = opened


def moved_at(folder: str, step: int) -> None:
    """Take a folder away after a step, at one stroke; what is being saved there makes it anew."""
    from research.training.display.progress import Lines

    advance = Lines.advance

    def moved(self: Lines, reached: int) -> None:
        advance(self, reached)
        if reached == step:
            os.rename(folder, f"{folder} elsewhere")
            os.mkdir(folder)

    Lines.advance = moved
