"""What is read of a small file is what was written, or it is damaged."""

import dataclasses
import json
import re
import shutil

import pytest

from research.errors import RunError
from research.training import Interrupted, identity, rollback, train
from research.training.storage import journal, sealed
from research.training.storage.folder import Folder
from research.training.storage.sealed import NAME, DamagedFile


def test_every_bit_counts(tmp_path):
    path = tmp_path / "small.json"
    sealed.write(path, '{"ü": 1}\n')
    content = path.read_bytes()
    assert sealed.read(path) == '{"ü": 1}\n'
    for bit in range(8 * len(content)):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        with pytest.raises(DamagedFile, match="not what was written"):
            sealed.read(path)
    for other in (b"", content[:-1], content + b"\n"):
        path.write_bytes(other)
        with pytest.raises(DamagedFile):
            sealed.read(path)


def killed(path):
    raise KeyboardInterrupt


def test_a_file_written_before_or_about_to_be_is_good(tmp_path, monkeypatch):
    """A kill between the digest and the file, or between two writings, leaves one of the two contents."""
    path = tmp_path / "small.json"
    sealed.write(path, "before")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(sealed, "partial_file", killed)
        sealed.write(path, "after")
    assert sealed.read(path) == "before" and sealed.was_written(path, "after")
    path.write_text("after")
    assert sealed.read(path) == "after"
    assert not sealed.was_written(path, "never")


def test_what_an_older_release_wrote_is_good_until_it_is_written_anew(tmp_path, monkeypatch):
    path = tmp_path / "small.json"
    path.write_text("older")
    sealed.write(tmp_path / "other.json", "newer")
    assert sealed.read(path) == "older" and sealed.damaged(tmp_path) == []
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(sealed, "partial_file", killed)
        sealed.write(path, "newer")
    assert sealed.read(path) == "older"
    path.write_text("colder")
    assert sealed.damaged(tmp_path) == ["small.json"]


def test_a_content_is_announced_once_and_a_line_cut_short_is_ended(tmp_path):
    for text in ("a", "b", "a"):
        sealed.write(tmp_path / "x", text)
    digests = tmp_path / NAME
    assert len(digests.read_text().splitlines()) == 2
    digests.write_text(digests.read_text()[:-9])
    sealed.write(tmp_path / "x", "c")
    assert sealed.read(tmp_path / "x") == "c"
    assert [json.loads(line)["file"] for line in digests.read_text().splitlines() if line.endswith("}")] == ["x", "x"]


def test_a_file_that_grew_line_by_line_is_sealed_when_it_is_done(tmp_path):
    path = tmp_path / "lines"
    path.write_text("1\n")
    sealed.check(path)
    sealed.seal(path)
    path.write_text("2\n")
    with pytest.raises(DamagedFile):
        sealed.check(path)
    sealed.seal(path)
    sealed.check(path)
    sealed.check(tmp_path / "nothing")


def test_a_file_that_grows_is_known_by_its_beginning(tmp_path):
    """What comes after that may still be on its way; it is announced before the file is cut, or done."""
    path = tmp_path / "lines"
    path.write_text("1\n2\n3")
    sealed.seal_beginning(path, 4, sealed.beginning(path, 4).hexdigest())
    for held in ("1\n2\n3", "1\n2\n", "1\n2\n9\n9\n"):
        path.write_text(held)
        sealed.check(path)
        assert sealed.damaged(tmp_path) == []
    for held in ("1\n7\n3", "1\n2", ""):
        path.write_text(held)
        with pytest.raises(DamagedFile):
            sealed.check(path)
        assert sealed.damaged(tmp_path) == ["lines"]
    path.write_text("1\n2\n3")
    sealed.seal_beginning(path, 2, sealed.beginning(path, 2).hexdigest())
    for held in ("1\n2\n3", "1\n"):
        path.write_text(held)
        sealed.check(path)
    sealed.seal(path)
    sealed.seal_beginning(path, 0, sealed.beginning(path, 0).hexdigest())
    path.write_text("2\n")
    sealed.check(path)
    path.write_text("1\n")
    sealed.seal(path)  # as before: it is done once more
    path.write_text("1\n2\n")
    with pytest.raises(DamagedFile):
        sealed.check(path)


FREE = {".lock", "lineage.jsonl", sealed.NAME, "curves.png", "augmentation.png"}
"""Files of a run that decide no number."""


@pytest.mark.fault("F35")
def test_a_space_more_in_a_file_of_a_run_is_noticed(tiny, options, undisturbed, tmp_path, caplog):
    """It says the same to whoever reads JSON; so would another digit be good JSON."""
    folder = Folder(shutil.copytree(undisturbed, tmp_path / "run"))
    names = sorted(path.name for path in folder.root.iterdir() if path.is_file() and path.name not in FREE)
    assert {"experiment.json", "result.json", "metrics.jsonl", "dataset.json"} < set(names)
    assert sealed.damaged(folder.root) == []
    data = {name: (folder.root / name).read_text() for name in tiny.data.files(options.data_dir)}
    for name in names:
        with (folder.root / name).open("a") as file:
            file.write(" ")
    assert sealed.damaged(folder.root) == names
    with pytest.raises(RunError, match=r"experiment\.json is damaged: it is not what was written"):
        folder.read_experiment()
    with pytest.raises(RunError, match=r"result\.json is damaged: it is not what was written"):
        folder.read_result()
    assert identity.read(folder) is None and folder.read_environment() == {}
    folder.check_data(data)
    said = [record.message for record in caplog.records]
    assert [re.search(r"\w+\.json is damaged", message)[0] for message in said] == [
        "environment.json is damaged",
        "dataset.json is damaged",
    ]


@pytest.mark.fault("F35")
def test_a_finished_run_says_which_of_its_files_are_damaged(tiny, options, undisturbed, tmp_path, caplog):
    """Once it went back and came to its end again none is: its journal was shorter in between."""
    folder = Folder(shutil.copytree(undisturbed, tmp_path / "run"))
    rollback(folder.root, 8)
    train(tiny, folder.root, options)
    assert sealed.damaged(folder.root) == [] and not caplog.records
    whole = folder.metrics.read_text()
    folder.metrics.write_text(whole.replace("1", "2", 1))
    assert train(tiny, folder.root, options) == folder.read_result()
    (record,) = caplog.records
    assert re.search(r"metrics\.jsonl is damaged: .*; restore it", record.message)


@pytest.mark.fault("F35")
def test_the_journal_of_a_run_that_is_not_finished_is_compared(tiny, options, tmp_path):
    """Up to its last save, which those who resume compare too; what came later is cut by them, and written again."""
    with pytest.raises(Interrupted):
        train(tiny, tmp_path, dataclasses.replace(options, stop_after=5))
    path = Folder(tmp_path).metrics
    whole = path.read_text()
    assert [line["step"] for line in journal.read(path)][-1] == 5
    path.write_text(whole + '{"step": 6, "split": "train", "loss": 1.0}\n')
    assert journal.read(path)[-1]["step"] == 6
    place = whole.rindex(".") + 1
    path.write_text(whole[:place] + str((int(whole[place]) + 1) % 10) + whole[place + 1 :])
    with pytest.raises(RunError, match=r"metrics\.jsonl is damaged: it is not what was written"):
        journal.read(path)
