"""Signals outside of steps."""

import signal
import threading

import pytest

from experiments.digits_cnn import experiment
from research.experiment import RunOptions
from research.training import Interrupted, loop, train
from research.training.faults.guard import SIGNALS, at_once, interruptible

pytestmark = pytest.mark.skipif(
    threading.current_thread() is not threading.main_thread(), reason="Python takes signals in its main thread"
)


@pytest.mark.fault("F4")
@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_while_data_are_read_ends_that_at_once(number, monkeypatch, tmp_path, capfd):
    """Alone and within a sweep, which learns of it; handlers are as before, and nothing is promised to be saved."""
    read, before = [], {number: signal.getsignal(number) for number in SIGNALS}

    def slowly(experiment, name, options):
        for block in range(9):
            read.append(block)
            if block == 3:
                signal.raise_signal(number)

    monkeypatch.setattr(loop, "open_split", slowly)
    with pytest.raises(Interrupted, match="stopped while data were read"):
        train(experiment, tmp_path / "run")
    assert read == [0, 1, 2, 3] and not (tmp_path / "run").exists()
    with interruptible() as interrupted:
        assert not interrupted()
        with pytest.raises(Interrupted):
            loop.open_splits(experiment, RunOptions())
        assert interrupted() and read == [0, 1, 2, 3] * 2
    assert {number: signal.getsignal(number) for number in SIGNALS} == before
    assert "finishing this step" not in capfd.readouterr().err


def test_signals_before_and_after_what_ends_at_once():
    with interruptible(silent=True) as interrupted:
        with at_once("nothing was done"):
            pass
        signal.raise_signal(signal.SIGTERM)  # as ever: it is remembered
        assert interrupted()
        with pytest.raises(Interrupted, match="while nothing was done"), at_once("nothing was done"):
            raise AssertionError
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)


def test_a_second_signal_stops_without_a_word():
    with interruptible(silent=True), pytest.raises(KeyboardInterrupt), at_once("two came"):
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            signal.raise_signal(signal.SIGINT)


def test_a_second_signal_stops_whatever_a_library_makes_of_it():
    """As JAX does, which raises ValueError where one comes while it has Python compare two values."""

    def compare():
        for number in SIGNALS:
            try:
                signal.raise_signal(number)
            except KeyboardInterrupt:
                raise ValueError("two values could not be compared") from None

    with pytest.raises(KeyboardInterrupt), interruptible(silent=True):
        compare()
    with interruptible(silent=True), pytest.raises(KeyboardInterrupt), interruptible():  # a run of a sweep
        compare()


def test_an_error_after_a_signal_is_that_error():
    with interruptible(silent=True), pytest.raises(ValueError, match="of its own"), interruptible():
        with pytest.raises(Interrupted), at_once("nothing was done"):
            signal.raise_signal(signal.SIGTERM)
        raise ValueError("of its own")
