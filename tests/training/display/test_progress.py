"""What a run shows, and that signals are as they were once it is over."""

import io
import signal
import sys
import threading
from pathlib import Path

import pytest

from research.training.display.progress import Speed, progress
from research.training.faults.guard import interruptible


def test_speed_by_hand():
    """100 steps of 32 examples in 4 seconds, then 50 in 1 second."""
    speed = Speed(steps=1000, start=0, batch_size=32)
    assert speed.update(100, 4.0) == (800.0, 36.0)
    assert speed.update(150, 5.0) == (1600.0, 17.0)


def test_speed_of_a_resumed_run():
    assert Speed(steps=20, start=10, batch_size=4).update(15, 1.0) == (20.0, 1.0)


def test_lines(capsys):
    lines = progress("lines", 200, 0, 10)
    lines.advance(1)
    lines.report(50, {"loss": 0.5}, 2.0)
    lines.say("done")
    lines.close()
    assert capsys.readouterr().out == "step  50/200  loss 0.5000  250 examples/s  6 s left\ndone\n"


def test_auto_is_lines_where_there_is_no_terminal(capsys):
    progress("auto", 1, 0, 1).say("a line")
    assert capsys.readouterr().out == "a line\n"


def test_bar(capsys):
    bar = progress("bar", 200, 50, 10)
    bar.say("resumed [at] step 50")
    bar.report(100, {"loss": 0.5}, 2.0)
    bar.advance(120)
    bar.close()
    out = capsys.readouterr().out
    assert "resumed [at] step 50" in out
    assert "120/200" in out and "loss 0.5000" in out and "250 examples/s" in out


def test_none_is_silent(capsys):
    silence = progress("none", 1, 0, 1)
    silence.say("a")
    silence.advance(1)
    silence.report(1, {"loss": 1.0}, 1.0)
    silence.close()
    assert capsys.readouterr() == ("", "")


@pytest.mark.fault("F31")
def test_a_terminal_that_is_gone_when_the_bar_is_drawn_ends_nothing(monkeypatch, caplog, capfd):
    def gone(*arguments):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("research.training.display.progress.TerminalBar", gone)
    shows = progress("bar", 10, 0, 2)
    shows.say("nobody reads this")
    shows.close()
    assert len(caplog.records) == 1 and "the run continues" in caplog.text


@pytest.mark.fault("F31")
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is always full")
def test_output_that_fails_later_is_said_once_and_then_left_alone(monkeypatch, caplog):
    """What was to be written is not tried again either, as Python does at its end."""
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        shows = progress("lines", 10, 0, 2)
        shows.advance(1)
        for step in (2, 4):
            shows.report(step, {"loss": 0.5}, 1.0)
            shows.say("nobody reads this")
        shows.close()
        full.flush()
    assert len(caplog.records) == 1 and "No space left" in caplog.text


@pytest.mark.fault("F31")
def test_output_without_a_file_that_fails_is_said_once(monkeypatch, caplog):
    """As that of a notebook whose page is gone."""

    class Gone(io.StringIO):
        def write(self, text):
            raise OSError(32, "Broken pipe")

    monkeypatch.setattr(sys, "stdout", Gone())
    shows = progress("lines", 10, 0, 2)
    for _ in range(3):
        shows.say("nobody reads this")
    assert len(caplog.records) == 1 and "Broken pipe" in caplog.text


def test_signals_are_restored_and_the_second_interrupts(capfd):
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with interruptible() as interrupted:
        assert not interrupted()
        signal.raise_signal(signal.SIGTERM)
        assert interrupted()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    assert "once more stops at once" in capfd.readouterr().err


def test_a_thread_leaves_signals_alone():
    seen = []

    def work():
        with interruptible() as interrupted:
            seen.append((interrupted(), signal.getsignal(signal.SIGTERM)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(False, signal.getsignal(signal.SIGTERM))]
