"""What became of a run: its lineage, where its time went, and what was other than before."""

import dataclasses
import json
import logging
import os
import re
import shutil
import time

import jax
import pytest

from research.errors import RunError
from research.training import Interrupted, train
from research.training.clock import Clock, goodput
from research.training.storage import environment, lineage, sealed
from research.training.storage.environment import drift, explain_drift
from research.training.storage.folder import Folder
from research.training.storage.lineage import Lineage
from research.training.storage.liveness import kernel
from tests.training.storage.test_lock import leave, owner
from tests.training.test_resume import assert_same_run


def test_a_line_cut_short_is_left_out_and_ended(tmp_path):
    path = tmp_path / "lineage.jsonl"
    assert lineage.read(path) == []
    kept = Lineage(path)
    kept.add("began", step=0)
    with path.open("a") as file:
        file.write('{"event": "resu')
    assert [event["event"] for event in kept.events()] == ["began"]
    kept.add("finished", step=3)
    kept.add("finished", step=4)
    assert [event["step"] for event in kept.events()] == [0, 3, 4]
    Lineage(path, writes=False).add("lost")
    assert len(kept.events()) == 3


def test_a_disk_that_takes_no_line_ends_no_run(tmp_path, caplog):
    Lineage(tmp_path / "missing" / "lineage.jsonl").add("began")
    assert "lineage.jsonl lacks that the run began" in caplog.text


def test_what_is_carried_is_what_was_known_last_of_the_same_seconds():
    saved, later = {"step": 2.0, "checkpoint": 0.0, "total": 5.0}, {"step": 2.0, "checkpoint": 1.0, "total": 6.0}
    interrupted = {"event": "interrupted", "step": 8, "seconds": later}
    assert lineage.carried([interrupted, {"event": "lost"}], 8, saved) == later
    assert lineage.carried([interrupted], 4, saved) == saved
    assert lineage.carried([interrupted], 8, {**saved, "step": 2.1}) == {**saved, "step": 2.1}, "another way to step 8"


class Time:
    """A clock that goes when it is told to."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def spend(clock, now, **seconds):
    for phase, duration in seconds.items():
        if phase == "other":
            now.now += duration
        else:
            with clock.phase(phase):
                now.now += duration


@pytest.mark.fault("F3")
def test_goodput_counts_the_life_of_processes_that_were_killed():
    now = Time()
    first = Clock(now)
    spend(first, now, compile=3.0, step=20.0)
    saved = first.seconds()
    events = [
        {"event": "began"},
        {"event": "lost", "since": 1000.0, "until": 1030.0},  # 7 s after its checkpoint
        {"event": "resumed"},
        {"event": "failed", "life": 4.0},  # and saved nothing
    ]
    clock = Clock(now)
    clock.carry(saved)
    clock.lose(lineage.total_process_seconds(events) - saved["total"])
    spend(clock, now, compile=1.0, step=30.0, input=0.5, evaluate=1.5, checkpoint=2.0, other=1.0)
    found = clock.seconds()
    assert found == {
        "compile": 4.0,
        "input": 0.5,
        "step": 50.0,
        "evaluate": 1.5,
        "checkpoint": 2.0,
        "lost": 11.0,
        "total": 70.0,
    }
    assert clock.life() == 36.0
    assert goodput(found, lineage.starts(events) + 1) == (
        "goodput 71 %: 50.0 s of 70.0 s were steps that count; "
        "compile 4.0, input 0.5, evaluation 1.5, checkpoints 2.0, repeated 11.0, other 1.0 (3 starts)"
    )
    again = Clock(now)
    again.carry(found)
    again.lose(lineage.total_process_seconds([*events, {"event": "interrupted", "life": 36.0}]) - found["total"])
    assert again.seconds() == found, "what is carried is not lost once more"


@pytest.mark.fault("F3")
def test_runs_that_advance_together_share_what_is_lost():
    events = [
        {"event": "began", "share": 0.25},
        {"event": "lost", "since": 1000.0, "until": 1040.0},
        {"event": "resumed"},  # alone
        {"event": "lost", "since": 2000.0, "until": 2003.0},
    ]
    assert lineage.total_process_seconds(events) == 13.0
    now = Time()
    whole = Clock(now)
    spend(whole, now, compile=4.0)
    clock = Clock(whole=whole, among=4)
    clock.carry({"step": 1.0, "total": 2.0})
    clock.lose(lineage.total_process_seconds(events) - 2.0)
    spend(clock, now, step=8.0)
    found = clock.seconds()
    assert [found[name] for name in ("compile", "step", "lost", "total")] == [1.0, 3.0, 11.0, 16.0]
    assert clock.life() == 3.0


def test_steps_that_are_repeated_do_not_count():
    now = Time()
    clock = Clock(now)
    spend(clock, now, step=5.0)
    saved = clock.seconds()
    spend(clock, now, step=3.0, compile=1.0)
    clock.repeat(saved)
    assert (clock.seconds()["step"], clock.seconds()["lost"], clock.seconds()["total"]) == (5.0, 3.0, 9.0)


@pytest.mark.fault("F20")
def test_drift_names_what_may_change_numbers():
    before = {
        "versions": {"jax": "0.10.1", "flax": "1", "python": "3.11.4"},
        "device": "cpu x 1",
        "cores": 1,
        "commit": "a" * 40,
        "platform": "another kernel",
        "command": ["another"],
    }
    now = {
        "versions": {"jax": "0.10.2", "flax": "1", "python": "3.11.4", "new": "2"},
        "device": "cpu x 8",
        "cores": 4,
        "commit": "b" * 40 + "-dirty",
        "uncommitted": "123",
        "platform": "",
        "command": [],
    }
    changed = drift(before, now)
    assert set(changed) == {"jax", "device", "cores", "commit"}
    assert explain_drift(changed) == (
        f"commit {'a' * 10} -> {'b' * 10}-dirty, device cpu x 1 -> cpu x 8, cores 1 -> 4, jax 0.10.1 -> 0.10.2"
    )
    edited = drift({**now, "uncommitted": "456"}, now)
    assert explain_drift(edited) == "uncommitted changes 456 -> 123"
    assert explain_drift(drift(now, {**now, "commit": None})) == f"commit {'b' * 10}-dirty -> none"
    assert drift(now, now) == drift({}, now) == drift({"versions": "garbage"}, now) == {}


@pytest.mark.fault("F34")
def test_settings_are_compared_like_versions():
    before = environment.environment()
    with jax.default_prng_impl("rbg"), jax.default_matmul_precision("float32"), jax.numpy_dtype_promotion("strict"):
        now = environment.environment()
    assert drift(before, now) == {
        "default_prng_impl": ("threefry2x32", "rbg"),
        "default_matmul_precision": ("None", "float32"),
        "numpy_dtype_promotion": ("standard", "strict"),
    }
    assert not drift({name: fact for name, fact in before.items() if name != "settings"}, now)  # of an older release


@pytest.mark.fault("F34")
def test_of_the_flags_of_xla_those_that_may_change_numbers_are_compared():
    assert environment.environment()["settings"]["XLA_FLAGS"] == environment.compiler_flags(
        os.environ.get("XLA_FLAGS", "")
    )
    harmless = "--xla_dump_to=there --xla_force_host_platform_device_count=8"
    assert (
        environment.compiler_flags(f"--xla_cpu_enable_fast_math=true {harmless}") == "--xla_cpu_enable_fast_math=true"
    )


def test_uncommitted_changes_have_a_digest():
    found = environment.uncommitted()
    assert (found is not None) == (environment.commit() or "").endswith("-dirty")
    assert found is None or re.fullmatch("[0-9a-f]{10}", found)


@pytest.mark.fault("F3")
@pytest.mark.fault("F20")
def test_the_life_of_a_run(tiny, options, undisturbed, tmp_path, caplog, capsys):
    """Stopped, killed, on another jax: all is written down, and nothing of it is in what is compared."""
    (only,) = [event for event in Folder(undisturbed).lineage.read_text().splitlines() if "began" in event]
    assert json.loads(only)["step"] == 0 and json.loads(only)["pid"] == os.getpid()
    shown = dataclasses.replace(options, progress="lines")
    with pytest.raises(Interrupted):
        train(tiny, tmp_path, dataclasses.replace(shown, stop_after=6))
    assert "(1 start)" in capsys.readouterr().out
    kept = Folder(tmp_path).read_environment()
    older = {**kept, "versions": {**kept["versions"], "jax": "0.0.1"}}
    sealed.write(Folder(tmp_path).environment, json.dumps(older))
    here = owner(kernel=kernel(), since=time.time() - 500)
    leave(tmp_path, here, silent=100)
    with caplog.at_level(logging.WARNING):
        result = train(tiny, tmp_path, shown)
    warned = [record.message for record in caplog.records if "numbers may differ" in record.message]
    assert warned == [f"{tmp_path} resumes where numbers may differ: jax 0.0.1 -> {kept['versions']['jax']}"]
    assert re.search(r"goodput \d+ %: .*, repeated 400.0, .*\(2 starts\)", capsys.readouterr().out)
    assert result.seconds["lost"] == pytest.approx(400, abs=0.1) and result.seconds["total"] > 400
    events = Lineage(Folder(tmp_path).lineage).events()
    assert [event["event"] for event in events] == ["began", "interrupted", "lost", "drifted", "resumed", "finished"]
    assert [event.get("step") for event in events] == [0, 6, None, None, 6, 12]
    assert events[3]["changed"] == {"jax": ["0.0.1", kept["versions"]["jax"]]}
    assert {"pid", "host", "commit", "device"} <= events[4].keys()
    assert_same_run(tmp_path, undisturbed)


@pytest.mark.fault("F12")
def test_a_damaged_checkpoint_and_a_failure_are_in_the_lineage(tiny, options, undisturbed, tmp_path, monkeypatch):
    folder = Folder(shutil.copytree(undisturbed, tmp_path / "run"))
    folder.result.unlink()
    next((folder.checkpoints / "latest" / "12" / "manifest").glob("metadata")).write_text("{}")

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("research.training.display.pictures.draw_curves", full)
    with pytest.raises(RunError, match="No space left"):
        train(tiny, folder.root, dataclasses.replace(options, pictures=True))
    *_, damaged, resumed, failed = Lineage(folder.lineage).events()
    assert (damaged["event"], damaged["kind"], damaged["step"]) == ("damaged", "latest", 12)
    assert (resumed["event"], resumed["step"]) == ("resumed", 8)
    assert (failed["event"], failed["step"]) == ("failed", 12)
    assert failed["reason"].startswith("RunError: cannot write") and failed["life"] > 0
