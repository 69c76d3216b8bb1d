"""Ctrl-C where Python itself is the process, as in the cell of a notebook."""

import dataclasses
import os
import signal
import threading

import pytest

from research.training import Interrupted, restore, train
from research.training.storage.journal import Journal


def interrupting(monkeypatch, step, times=1):
    """Have the process interrupted when a training report of a step is written."""
    write = Journal.write

    def struck(self, at, split, metrics):
        write(self, at, split, metrics)
        if (at, split) == (step, "train"):
            for _ in range(times):
                os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Journal, "write", struck)


@pytest.mark.fault("F4")
@pytest.mark.skipif(
    threading.current_thread() is not threading.main_thread(), reason="Python takes signals in its main thread"
)
def test_interrupting_a_cell_once_saves_and_twice_stops_at_once(tiny, options, undisturbed, tmp_path, monkeypatch):
    before = signal.getsignal(signal.SIGINT)
    interrupting(monkeypatch, step=5)
    with pytest.raises(Interrupted, match=r"stopped at step 6 of 12, saved in .*; the same command resumes from there"):
        train(tiny, tmp_path, dataclasses.replace(options, checkpoint_every=100))
    assert int(restore(tmp_path)[1].step) == 6
    assert signal.getsignal(signal.SIGINT) is before
    monkeypatch.undo()
    interrupting(monkeypatch, step=8, times=2)
    with pytest.raises(KeyboardInterrupt):
        train(tiny, tmp_path, dataclasses.replace(options, checkpoint_every=100))
    assert signal.getsignal(signal.SIGINT) is before
    monkeypatch.undo()
    train(tiny, tmp_path, options)
    assert (tmp_path / "metrics.jsonl").read_bytes() == (undisturbed / "metrics.jsonl").read_bytes()
