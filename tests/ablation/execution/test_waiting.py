"""How long a process waits between two looks at what others are doing."""

import types

import pytest

from research.ablation.execution import waiting


@pytest.fixture
def clock(monkeypatch):
    """A clock that a test moves, and the pauses that were slept."""
    clock = types.SimpleNamespace(now=0.0, slept=[])

    def sleep(seconds):
        clock.slept.append(seconds)
        clock.now += seconds

    monkeypatch.setattr(waiting, "time", types.SimpleNamespace(perf_counter=lambda: clock.now, sleep=sleep))
    return clock


def pauses(clock, looks, between=lambda it: None):
    """Return the pauses between looks that take so many seconds each."""
    it = waiting.Waiting(None, lambda: False)
    for seconds in looks:
        clock.now += seconds
        between(it)
        it.pause()
    return clock.slept


def test_pauses_grow_and_a_short_look_does_not_lengthen_them(clock):
    assert pauses(clock, [0.001] * 5) == [0.05, 0.1, 0.2, 0.25, 0.25]


def test_looking_takes_a_tenth_of_the_time_however_many_trials_there_are(clock):
    slept = pauses(clock, [0.15] * 20)
    assert sum(slept[5:]) == pytest.approx(9 * 0.15 * 15)


def test_a_pause_ends_after_two_seconds(clock):
    assert pauses(clock, [60.0] * 3) == [0.05, 2.0, 2.0]


def test_work_in_between_is_no_looking(clock):
    assert pauses(clock, [60.0] * 3, lambda it: it.reset()) == [0.05] * 3
