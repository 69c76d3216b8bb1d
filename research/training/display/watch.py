"""What is to be learned from watching a run's steps: when the first was done, and which operations are slow."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import jax

from research.devices.cache import Compilations
from research.devices.profile import Profile


class Watch:
    """Looks on while steps are taken and says what it sees; by default it sees nothing."""

    def __init__(
        self,
        say: Callable[[str], None] = lambda text: None,
        compilations: Compilations | None = None,
        profile: Profile | None = None,
    ) -> None:
        self._say, self._compilations, self._profile = say, compilations, profile

    @contextlib.contextmanager
    def call(self, step: int, count: int, state: Any) -> Iterator[None]:
        """Watch the call that takes `count` steps from `step` on."""
        if self._profile is not None:
            self._profile.begin(step, count, state)
        with jax.profiler.StepTraceAnnotation("train", step_num=step + count):
            yield

    def after(self, step: int, state: Any, call: Any, *arguments: Any) -> None:
        """Say what is known once `step` is reached by a call with these arguments."""
        if self._compilations is not None:
            self._say(self._compilations.first_step())
            self._compilations = None
        if self._profile is not None and self._profile.ends(step):
            self._say(self._profile.end(step, state, lambda: program_text(call, *arguments)))

    def close(self) -> None:
        """End a trace that is under way."""
        if self._profile is not None:
            self._profile.close()


def program_text(call: Any, *arguments: Any) -> str:
    """Return the text of the compiled program that a call runs, "" where it runs several, or several processes do."""
    alone = hasattr(call, "lower") and jax.process_count() == 1  # all processes must compile what spans their devices
    return call.lower(*arguments).compile().as_text() if alone else ""
