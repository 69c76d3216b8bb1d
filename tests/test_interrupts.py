"""Ctrl-C in commands that have nothing to save."""

import importlib
import signal
import threading

import pytest

from research.interrupts import ends_at_ctrl_c
from tests.training import forking


def struck(*arguments, **options):
    """Be interrupted where JAX makes an error of its own of that."""
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt:
        raise ValueError("two values could not be compared") from None


def command(module, words, place, name):
    """Be `python -m MODULE WORDS`, typed in a terminal and interrupted in a function."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell has what it runs beside itself ignore it
    setattr(importlib.import_module(place), name, struck)
    forking._run(module, words)


COMMANDS = [
    ("experiments.digits_cnn", ["describe"], "jax", "eval_shape"),
    ("experiments.digits_cnn", ["plan"], "jax", "eval_shape"),
    ("experiments.digits_cnn", ["report", "--workdir", "runs"], "research.cli.main", "report"),
    ("experiments.digits_cnn", ["evaluate"], "research.cli.runs", "join"),
    ("experiments", [], "rich.console", "Console"),
    ("research.data", ["prepare", "digits"], "research.data.storage.catalog", "prepare"),
    ("research.weights", ["export", "--workdir", "run", "--output", "x.safetensors"], "research.training", "restore"),
    ("research.launch", ["--", "true"], "tyro", "cli"),
]


@pytest.mark.fault("F56")
@pytest.mark.parametrize(("module", "words", "place", "name"), COMMANDS)
def test_ctrl_c_ends_every_command_alike(module, words, place, name):
    assert forking.finish(*forking.call(command, module, words, place, name)) == forking.Ended(130, "")


def test_an_error_is_an_error_and_handlers_are_as_before():
    before = signal.getsignal(signal.SIGINT)
    with ends_at_ctrl_c():
        assert (signal.getsignal(signal.SIGINT) is before) == (before is not signal.default_int_handler)
    with pytest.raises(ValueError, match="of its own"), ends_at_ctrl_c():
        raise ValueError("of its own")
    assert signal.getsignal(signal.SIGINT) is before
    found = []
    thread = threading.Thread(target=lambda: found.append(ends_at_ctrl_c().__enter__()))
    thread.start()
    thread.join()
    assert found == [None] and signal.getsignal(signal.SIGINT) is before
