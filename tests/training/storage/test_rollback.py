"""Back to an earlier step: nothing is deleted, and the run comes to the same end."""

import dataclasses
import json
import shutil

import pytest

from research.errors import RunError, UsageError
from research.training import restore, rollback, train
from research.training.display import pictures
from research.training.storage import sealed
from research.training.storage.folder import Folder
from research.training.storage.lineage import Lineage
from tests.training.test_resume import assert_same_run

pytestmark = pytest.mark.fault("F16")


@pytest.fixture
def folder(undisturbed, tmp_path):
    """A copy of a finished run, with checkpoints of steps 8 and 12."""
    return Folder(shutil.copytree(undisturbed, tmp_path / "run"))


def files(root):
    return {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_what_came_later_is_kept_and_the_run_comes_to_the_same_end(folder, tiny, options, undisturbed):
    (best,) = [int(path.name) for path in (folder.checkpoints / "best").iterdir()]
    before = files(folder.root)
    archive = rollback(folder.root, 8)
    assert archive == folder.root / "archive" / "1"
    assert int(restore(folder.root)[1].step) == 8
    assert folder.read_result() is None and not folder.curves.exists()
    journals = [path / "metrics.jsonl" for path in (folder.root, archive)]
    assert b"".join(path.read_bytes() for path in journals) == (undisturbed / "metrics.jsonl").read_bytes()
    assert [json.loads(line)["step"] <= 8 for line in journals[0].read_text().splitlines()] == [True] * 9
    assert [json.loads(line)["step"] > 8 for line in journals[1].read_text().splitlines()] == [True] * 7
    (event,) = [event for event in Lineage(folder.lineage).events() if event["event"] == "rolled back"]
    assert (event["step"], event["archive"]) == (8, "archive/1")
    moved = {path.relative_to(archive.relative_to(folder.root)): content for path, content in archived(folder, archive)}
    kept = {path: content for path, content in files(folder.root).items() if "archive" not in path.parts}
    changed = {folder.metrics.name, folder.digests.name, folder.lineage.name, ".lock"}
    assert {p: c for p, c in (moved | kept).items() if p.name not in changed} == {
        p: c for p, c in before.items() if p.name not in changed
    }
    assert best <= 8 or not any((folder.checkpoints / "best").iterdir())
    train(tiny, folder.root, options)
    assert_same_run(folder.root, undisturbed)
    assert {int(path.name) for path in (folder.checkpoints / "latest").iterdir()} == {8, 12}
    assert [int(path.name) for path in (folder.checkpoints / "best").iterdir()] == [best]
    assert rollback(folder.root, 8).name == "2"


def archived(folder, archive):
    found = files(folder.root)
    return [(path, found[path]) for path in found if archive.relative_to(folder.root) in path.parents]


def test_a_step_that_is_not_kept_is_answered_with_those_that_are(folder):
    before = files(folder.root)
    with pytest.raises(UsageError, match=r"step 7 is not kept in .*; the steps that are kept: 8, 12$"):
        rollback(folder.root, 7)
    assert files(folder.root) == before


@pytest.mark.fault("F2")
def test_what_a_kill_in_a_save_left_is_no_step_to_go_back_to(folder):
    latest = folder.checkpoints / "latest"
    shutil.copytree(latest / "8", latest / "9.orbax-checkpoint-tmp")
    with pytest.raises(UsageError, match=r"step 9 is not kept in .*; the steps that are kept: 8, 12$"):
        rollback(folder.root, 9)


def test_a_run_in_use_and_no_run_at_all_are_left_alone(folder, tmp_path):
    with folder.claimed(), pytest.raises(RunError, match="another process .* is running in"):
        rollback(folder.root, 8)
    with pytest.raises(RunError, match="is not a run folder"):
        rollback(tmp_path, 8)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


PLACES = ("../elsewhere", "/elsewhere", "a/b.png", "a\\b.png", ".", "..", "")
OWN = ("archive", "checkpoints", "experiment.json", ".lock")
NO_NAMES = ("a\0b.png", "x" * 256, "\ud800")


@pytest.mark.parametrize("name", [*PLACES, *OWN, *NO_NAMES], ids=ascii)
def test_only_files_of_the_run_folder_are_moved_whatever_the_result_names(name, folder, tmp_path):
    """The result of a run may come from anywhere: it is refused before anything moves."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("keep")
    result = json.loads(folder.result.read_text())
    result["illustrations"][str(elsewhere) if name == "/elsewhere" else name] = "x"
    sealed.write(folder.result, json.dumps(result))
    before = files(tmp_path)
    with pytest.raises(RunError, match=r"result\.json is damaged: .*(illustrations name|surrogates not allowed)"):
        rollback(folder.root, 8)
    assert files(tmp_path) == before


def test_a_folder_that_somebody_put_there_stays(folder):
    result = json.loads(folder.result.read_text())
    result["illustrations"]["notes"] = "x"
    sealed.write(folder.result, json.dumps(result))
    (folder.root / "notes").mkdir()
    rollback(folder.root, 8)
    assert (folder.root / "notes").is_dir()


def test_a_task_that_draws_elsewhere_is_told_so(tiny, options, tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "illustrate", lambda *arguments: {"../picture.png": "x"})
    with pytest.raises(UsageError, match=r"illustrations name '\.\./picture\.png'.*; mend `illustrate`"):
        train(tiny, tmp_path / "run", dataclasses.replace(options, pictures=True))
    assert train(tiny, tmp_path / "run", options).illustrations == {}


@pytest.mark.parametrize("moves", [0, 1, 3])
def test_cut_short_it_is_done_by_calling_it_again(moves, folder, undisturbed, monkeypatch):
    """Whatever was done when it was killed, the folder holds a run, and all of it is in one place or another."""
    move, done = shutil.move, []

    def killed(source, target):
        if len(done) == moves:
            raise KeyboardInterrupt
        done.append(source)
        move(source, target)

    monkeypatch.setattr(shutil, "move", killed)
    with pytest.raises(KeyboardInterrupt):
        rollback(folder.root, 8)
    monkeypatch.undo()
    assert int(restore(folder.root)[1].step) in (8, 12)
    assert moves == 0 or folder.read_result() is None
    archive = rollback(folder.root, 8)
    assert archive.name == "2" and int(restore(folder.root)[1].step) == 8
    assert (archive / "metrics.jsonl").read_bytes() == (folder.archive / "1" / "metrics.jsonl").read_bytes()
