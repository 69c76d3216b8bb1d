"""Files name classes and places: nothing is imported by a name, and nothing is written outside what was asked for."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from research.ablation import Study, one_at_a_time
from research.ablation.report import tabulate, write_report
from research.ablation.store.study_folder import Store
from research.data import Images, Table
from research.data.storage.folders import read_files
from research.errors import RunError, UsageError
from research.experiment import RunOptions, from_json, to_json
from research.interchange import read_tensors
from research.training import restore
from research.training.initialization.beginning import begin
from research.training.storage import sealed
from research.training.storage.folder import Folder

HOSTILE = ("os.system", "subprocess.Popen", "builtins.eval", "canary_module.Model", "canary_module", "__main__")


@pytest.fixture
def canary(tmp_path, monkeypatch):
    """A module that leaves a file when it is imported; nothing is imported at all while a test has this."""
    path = tmp_path / "canary"
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules/canary_module.py").write_text(f"open({str(path)!r}, 'w').close()\nModel = dict\n")
    monkeypatch.syspath_prepend(tmp_path / "modules")
    yield path
    assert not path.exists() and "canary_module" not in sys.modules


def renamed(tree, name):
    """Yield JSON trees in which, each in turn, one class has another name."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            if key == "class":
                yield {**tree, "class": name}
            else:
                yield from ({**tree, key: item} for item in renamed(value, name))
    elif isinstance(tree, list):
        for index, value in enumerate(tree):
            yield from ([*tree[:index], item, *tree[index + 1 :]] for item in renamed(value, name))


@pytest.fixture(scope="module")
def begun(experiment, data_dir, tmp_path_factory):
    """The folder of a run before its first step."""
    root = tmp_path_factory.mktemp("begun") / "run"
    begin(experiment, root, RunOptions(data_dir=data_dir))
    restore(root)  # so that whatever is imported by need is there
    return root


@pytest.mark.fault("F27")
@pytest.mark.parametrize("name", HOSTILE)
def test_a_class_of_another_name_is_never_imported(name, canary, experiment, begun, tmp_path):
    """In configuration, in a run folder, and in the study of a report."""
    before = set(sys.modules)
    store = Store.open(tmp_path / "study", experiment, Study(one_at_a_time({"model.dropout": (0.0,)}), seeds=2))
    whole = (tmp_path / "study/study.json").read_text()
    kept = Folder(begun).experiment.read_text()
    for tree in renamed(json.loads(to_json(experiment)), name):
        with pytest.raises(UsageError, match=f'unknown class "{name}"'):
            from_json(json.dumps(tree))
        sealed.write(Folder(begun).experiment, json.dumps(tree))
        with pytest.raises(RunError, match=f'cannot read .*experiment.json: unknown class "{name}"'):
            restore(begun)
    sealed.write(Folder(begun).experiment, kept)
    for tree in renamed(json.loads(whole), name):
        sealed.write(tmp_path / "study/study.json", json.dumps(tree))
        with pytest.raises(RunError, match="cannot read .*study.json: unknown class"):
            tabulate(Store(store.root))
    assert set(sys.modules) == before


@pytest.mark.fault("F27")
def test_a_name_in_the_files_of_a_checkpoint_is_never_imported(canary, begun):
    """Orbax writes which handlers and types it used; a checkpoint that says others is read as it is, or refused."""
    before = set(sys.modules)
    files = [path for path in begun.rglob("*") if path.is_file() and b'"' in path.read_bytes()]
    named = 0
    for path in files:
        try:
            tree = json.loads(path.read_text())
        except ValueError:
            continue
        write = sealed.write if path.parent == begun else Path.write_text  # a checkpoint has digests of its own
        for name in ("os.system", "canary_module.Model"):
            write(path, json.dumps(texts_as(tree, name)))
            named += path.read_text() != json.dumps(tree)
            try:
                assert int(restore(begun)[1].step) == 0
            except RunError as error:
                assert str(error)
        write(path, json.dumps(tree))
    assert named > 4 and int(restore(begun)[1].step) == 0
    assert {module for module in set(sys.modules) - before if module.split(".")[0] in ("canary_module", "os")} == set()


def texts_as(tree, name):
    """A JSON tree with one text in place of every other."""
    if isinstance(tree, dict):
        return {key: texts_as(item, name) for key, item in tree.items()}
    if isinstance(tree, list):
        return [texts_as(item, name) for item in tree]
    return name if isinstance(tree, str) else tree


@pytest.mark.fault("F27")
@pytest.mark.parametrize("name", HOSTILE[:4])
@pytest.mark.parametrize("path", ["model.activation", "optimizer.algorithm", "data.name"])
def test_a_name_that_a_field_holds_is_never_imported(path, name, canary, experiment):
    tree = json.loads(to_json(experiment))
    owner, field = path.split(".")
    tree[owner][field] = name
    before = set(sys.modules)
    if path == "data.name":
        with pytest.raises(UsageError, match="unknown dataset|cannot be described"):
            from_json(json.dumps(tree)).data.spec()
    else:
        with pytest.raises(UsageError, match=path):
            from_json(json.dumps(tree))
    assert not {module for module in set(sys.modules) - before if "canary" in module or module == "subprocess"}


def tree_of(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


@pytest.mark.fault("F28")
def test_names_in_a_study_are_no_paths(experiment, tmp_path):
    """Of its title, cells and remarks: a report has the files that a report has, in the folder that was named."""
    folder, name = tmp_path / "inside/study", "/a/../../evil"
    study = Study(one_at_a_time({"data.train": (name,)}), seeds=2, description=name)
    store = Store.open(folder, experiment, study)
    write_report(folder, tabulate(store, name)[0])
    files = [f"study/report.{ending}" for ending in ("csv", "html", "md", "png", "tex")]
    assert tree_of(tmp_path / "inside") == ["study", "study/digests.jsonl", *files, "study/study.json"]
    trials = {store.folder(trial) for trial in store.final_trials()}
    assert {path.parent for path in trials} == {folder / "trials"} and all(".." not in str(path) for path in trials)


@pytest.mark.fault("F28")
@pytest.mark.parametrize("evil", ["../evil.npy", "/tmp/evil.npy", "a/../../evil.npy", "..\\evil.npy"])
def test_members_of_archives_are_never_unpacked(evil, tmp_path):
    """NPZ files and those of PyTorch are read in memory: what their members are called decides no path."""
    inside = tmp_path / "inside"
    inside.mkdir()
    np.save(tmp_path / "x.npy", np.eye(7, dtype=np.float32))
    for name in ("x.npz", "x.pt"):
        with zipfile.ZipFile(inside / name, "w") as archive:
            archive.writestr(evil, (tmp_path / "x.npy").read_bytes())
            archive.writestr("archive/data.pkl", b"\x80\x02}.")
            link = zipfile.ZipInfo("link")
            link.external_attr = 0o120777 << 16
            archive.writestr(link, "/etc/passwd")
    before = tree_of(tmp_path)
    with pytest.raises(UsageError, match="x.npz"):
        Table(str(inside / "x.npz"), features=7).open("train")
    assert read_tensors(inside / "x.pt")[0] == {}
    assert tree_of(tmp_path) == before


def test_the_project_unpacks_no_archive():
    """`tarfile` and `shutil.unpack_archive`, and the methods of archives that write files."""
    from pathlib import Path

    for path in Path(__file__).parents[2].glob("research/**/*.py"):
        for word in ("tarfile", "unpack_archive", ".extract(", ".extractall("):
            assert word not in path.read_text(), path


@pytest.mark.fault("F28")
def test_links_in_a_folder_of_data_are_read_and_never_written(tmp_path):
    """A link to a file stands for it, as folders are made of links; one to nothing is named, none is left out."""
    from PIL import Image

    elsewhere, folder = tmp_path / "elsewhere", tmp_path / "folder"
    elsewhere.mkdir()
    for number, name in enumerate(("ants", "bees")):
        (folder / name).mkdir(parents=True)
        for i in range(12):
            pixels = np.random.default_rng([number, i]).integers(0, 256, (5, 7, 3), np.uint8)
            Image.fromarray(pixels).save(elsewhere / f"{name}{i}.png")
            (folder / name / f"{i}.png").symlink_to(elsewhere / f"{name}{i}.png")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert sum(len(Images(str(folder)).open(split)) for split in ("train", "validation", "test")) == 24
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    (elsewhere / "ants3.png").unlink()
    with pytest.raises(UsageError, match="ants/3.png is a link to a file that is not there"):
        Images(str(folder)).open("train")
    (folder / "ants/3.png").unlink()
    (folder / "wasps").symlink_to(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="folder/wasps is a link to a file that is not there"):
        Images(str(folder)).open("train")


@pytest.mark.fault("F28")
def test_links_in_a_folder_of_texts(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "text").write_text("a text\n")
    (tmp_path / "folder/a.txt").symlink_to(tmp_path / "text")
    assert [file.text for file in read_files(str(tmp_path / "folder"))] == ["a text\n"]
    os.mkfifo(tmp_path / "folder/pipe.txt")  # would be waited for
    (tmp_path / "folder/device.txt").symlink_to("/dev/zero")
    (tmp_path / "folder/outside.txt").symlink_to(tmp_path)  # no way to descend without end
    assert [file.name for file in read_files(str(tmp_path / "folder"))] == ["a.txt"]
    for target in ("nothing", "loop.txt"):
        (tmp_path / "folder/loop.txt").symlink_to(target)
        with pytest.raises(UsageError, match="folder/loop.txt is a link to a file that is not there"):
            read_files(str(tmp_path / "folder"))
        (tmp_path / "folder/loop.txt").unlink()


@pytest.mark.fault("F28")
def test_a_run_writes_nowhere_but_where_it_was_told_to(tmp_path):
    """A path may go up, be absolute or a link, for it is the user who names it; beside it nothing is written."""
    (tmp_path / "real").mkdir()
    (tmp_path / "here").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    words = ["experiments.digits_cnn", "--smoke", "--steps", "2", "--workdir", "../link/run", "--data_dir", "../data"]
    environment = {**os.environ, "PYTHONPATH": os.getcwd(), "HOME": str(tmp_path / "home")}
    command = [sys.executable, "-m", *words, "--progress", "none", "--no_pictures"]
    ended = subprocess.run(command, cwd=tmp_path / "here", env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "here", "link", "real"]
    assert not list((tmp_path / "here").iterdir()) and (tmp_path / "real/run/result.json").exists()
