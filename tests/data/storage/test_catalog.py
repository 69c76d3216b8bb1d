import dataclasses
import json
import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest

from research.data import Images
from research.data.__main__ import main
from research.data.images.image_files import square
from research.data.storage import catalog, preparation
from research.errors import RunError, UsageError


def refused(offline, action):
    """Return the message of the error of `action`, which comes in one line and without the network."""
    with pytest.raises(UsageError) as caught:
        action()
    assert not offline
    assert "\n" not in str(caught.value)
    return str(caught.value)


def pairs(images, labels):
    return {(image.tobytes(), label) for image, label in zip(images, labels.tolist(), strict=True)}


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "cifar10", "cifar100", "svhn_cropped"])
def test_catalogue_datasets_are_read_as_they_were_written(name, catalogue, offline):
    folder, written = catalogue
    value = Images(name)
    entries = value.schema().entries
    assert value.spec()["image"].shape == written[name]["test"][0][0].shape == dataclasses.astuple(entries["image"])
    assert entries["label"].classes == len(value.class_names()) == (100 if name == "cifar100" else 10)
    opened = {split: value.open(split, folder) for split in ("train", "validation", "test")}
    assert [len(records) for records in opened.values()] == [37, 4, 17]
    for split, parts in {"train": ("train", "validation"), "test": ("test",)}.items():
        images, labels = written[name][split]
        found = set()
        for part in parts:
            arrays = opened[part].arrays()
            assert arrays["image"].dtype == np.uint8 and arrays["label"].dtype == np.int32
            assert opened[part].nbytes == sum(array.nbytes for array in arrays.values())
            found |= pairs(arrays["image"], arrays["label"])
        assert found == pairs(images, labels) and len(found) == len(images)
    assert not offline


@pytest.mark.parametrize(("name", "size"), [("imagenette", 7), ("imagenette", 16), ("mnist", 32), ("cifar10", 8)])
def test_catalogue_datasets_are_read_at_one_size(name, size, catalogue, offline):
    folder, written = catalogue
    records = Images(name, size=size).open("test", folder)
    arrays = records.arrays()
    assert records.spec["image"].shape == arrays["image"].shape[1:] == (size, size, 1 if name == "mnist" else 3)
    images, labels = written[name]["test"]
    assert pairs(arrays["image"], arrays["label"]) == pairs([square(image, size) for image in images], labels)


def labels(value, split, folder):
    return value.open(split, folder).arrays()["label"].tolist()


def test_split_expressions(catalogue):
    folder, _ = catalogue
    whole = labels(Images("mnist", validation="test[:1]", test="test[1:]"), "train", folder)
    assert len(whole) == 41
    assert labels(Images("mnist", train="train[:20]", validation="train[20:]"), "train", folder) == whole[:20]
    assert labels(Images("mnist", train="train[:20]", validation="train[20:]"), "validation", folder) == whole[20:]
    assert labels(Images("mnist", train="train[:20]"), "train", folder) == whole[:18]
    assert labels(Images("mnist", train="train[:20]"), "validation", folder) == whole[18:20]
    crossed = Images("mnist", train="test[60%:]", validation="test[50%:60%]", test="train + test[:50%]")
    assert len(labels(crossed, "test", folder)) == 41 + 8
    assert len(catalog.source(catalog.prepared("mnist", folder), "all")) == 41 + 17


@pytest.mark.parametrize(
    ("splits", "shared"),
    [
        ({"test": "train"}, 41),
        ({"validation": "train[90%:]"}, 4),
        ({"validation": "train[:5]", "train": "train[2:]"}, 3),
        ({"validation": "test[:3]"}, 3),
        ({"train": "train+test[16:]"}, 1),
        ({"test": "all"}, 41),
    ],
)
def test_splits_that_share_examples_are_refused(splits, shared, catalogue):
    with pytest.raises(UsageError, match=f"share {shared} examples"):
        Images("mnist", **splits).open("test", catalogue[0])


def test_a_validation_split_of_the_dataset_is_used(data_dir):
    assert [len(Images().open(split, data_dir)) for split in ("train", "validation", "test")] == [1078, 180, 539]


@pytest.mark.fault("F29")
def test_damaged_records_are_one_sentence(data_dir, tmp_path):
    """A file cut in half, and one with a byte changed in every block."""
    for damage in (
        lambda data: data[: len(data) // 2],
        lambda data: bytes(byte ^ (i % 97 == 0) for i, byte in enumerate(data)),
    ):
        folder = shutil.copytree(data_dir, tmp_path / "copy", dirs_exist_ok=True)
        (file,) = folder.glob("digits/*/digits-train*")
        file.write_bytes(damage(file.read_bytes()))
        with pytest.raises(RunError, match=r"damaged at example 0 of a split: .*; prepare it in another --data-dir"):
            Images().open("train", str(folder)).arrays()


@pytest.mark.parametrize("expression", ["tran[:80%]", "train+tran", "tran"])
def test_an_unknown_split_names_the_splits_there_are(expression, data_dir, offline):
    message = refused(offline, lambda: Images(train=expression).open("train", data_dir))
    assert message == 'dataset "digits" has no split "tran"; its splits are test, train, validation'


@pytest.mark.parametrize("expression", ["train[:", "train[5:8:2]", "train[:9999999]", "train[", "train[:0]", ""])
def test_an_expression_that_cannot_be_read_is_quoted(expression, data_dir, offline):
    value = Images(test=expression)
    if not expression:
        assert len(value.open("test", data_dir)) == 539
        return
    message = refused(offline, lambda: value.open("test", data_dir))
    assert expression in message or message == 'the test split of "digits" has no examples'


def test_a_misspelt_role_is_corrected(data_dir, offline):
    assert 'did you mean "validation"' in refused(offline, lambda: Images().open("validaton", data_dir))


def test_a_misspelt_dataset_is_corrected(tmp_path, offline):
    for action in (Images("mnst").spec, Images("mnst").schema, lambda: Images("mnst").open("train", str(tmp_path))):
        assert refused(offline, action).startswith('unknown dataset "mnst"; did you mean "mnist" or')
    assert '"digits"' in refused(offline, Images("digit").spec)
    assert '"emnist"' in refused(offline, Images("emnst/letters").spec)
    assert "digits, mnist5k, " in refused(offline, Images("zzzzzz").spec)


def test_a_path_is_not_taken_for_a_dataset(tmp_path, offline, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("pictures", "pictures/", "my pictures"):  # the second as a shell completes it
        (tmp_path / name).mkdir(exist_ok=True)
        assert refused(offline, Images(name).spec).endswith(f'; for the folder or file of that name say "./{name}"')
    assert refused(offline, lambda: catalog.find("./pictures")).startswith(
        '"./pictures" is a path: texts and images are read from a folder'
    )


def test_an_unprepared_dataset_says_how_to_prepare_it(tmp_path, offline):
    message = refused(offline, lambda: Images("mnist").open("train", str(tmp_path)))
    assert message.endswith(
        f"is not prepared in {tmp_path}; run: python -m research.data prepare mnist --data-dir {tmp_path}"
    )
    assert not list(tmp_path.iterdir())


def test_the_default_folder_follows_the_environment(monkeypatch, catalogue, tmp_path):
    monkeypatch.setenv("TFDS_DATA_DIR", catalogue[0])
    assert len(Images("mnist").open("test")) == 17
    monkeypatch.delenv("TFDS_DATA_DIR")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert catalog.data_folder() == f"{tmp_path}/tensorflow_datasets"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (
            "glue",
            'dataset "glue" has no "image" with a class "label", with "labels" or a "target"; its examples have: ',
        ),
        ("cats_vs_dogs", 'the images of dataset "cats_vs_dogs" differ in size: set data.size, the side in pixels'),
        ("emnist/lettrs", 'dataset "emnist/lettrs" cannot be described: BuilderConfig lettrs not found'),
        ("mnist:1", 'dataset "mnist:1" cannot be described: '),
    ],
)
def test_a_dataset_that_does_not_fit_says_why(name, reason, tmp_path, offline):
    assert refused(offline, Images(name).spec).startswith(reason)
    assert refused(offline, lambda: Images(name).open("train", str(tmp_path))).startswith(reason)


def test_an_unwritable_folder_is_named(tmp_path, offline):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", pathlib.Path("/proc/nowhere")):
        message = refused(offline, lambda folder=folder: Images().open("train", str(folder)))
        assert str(folder) in message and "--data-dir" in message
    (tmp_path / "digits").write_text("")
    assert f"{tmp_path}/digits" in refused(offline, lambda: Images().open("train", str(tmp_path)))


def test_another_file_format_is_refused(catalogue, tmp_path, offline):
    shutil.copytree(pathlib.Path(catalogue[0]) / "mnist", tmp_path / "mnist")
    file = tmp_path / "mnist" / "3.0.1" / "dataset_info.json"
    info = json.loads(file.read_text())
    file.write_text(json.dumps({**info, "fileFormat": "tfrecord"}))
    for shard in file.parent.glob("*array_record*"):
        shard.rename(shard.with_name(shard.name.replace("array_record", "tfrecord")))
    message = refused(offline, lambda: Images("mnist").open("train", str(tmp_path)))
    assert "array_record" in message and "--data-dir" in message and str(tmp_path) in message


def test_prepare_reports_what_is_there(data_dir, catalogue, capsys, offline):
    assert main(["prepare", "digits", "--data-dir", data_dir]) == 0
    assert main(["prepare", "mnist", "--data-dir", catalogue[0]]) == 0
    out = capsys.readouterr().out
    assert f"digits/1.0.0 is prepared in {data_dir}" in out and "train: 1,078 examples" in out
    assert "duplicates across splits: train/validation 0, train/test 0, validation/test 0" in out
    assert "duplicates within splits: train 0, test 0" in out
    assert not offline


def test_preparing_a_catalogue_dataset_without_tensorflow_names_the_extra(monkeypatch, tmp_path, capsys, offline):
    monkeypatch.setattr(catalog.preparation.importlib.util, "find_spec", lambda name: None)
    assert main(["prepare", "mnist", "--data-dir", str(tmp_path)]) == 2
    captured = capsys.readouterr()
    assert 'pip install "ceteris-research[prepare]"' in captured.err and captured.err.count("\n") == 1
    assert not captured.out and not offline


OFFLINE = """
import importlib.util, socket, sys
def refuse(*arguments, **options): raise OSError("no network")
socket.getaddrinfo = socket.socket.connect = refuse
importlib.util.find_spec = lambda name: object()
from research.data.__main__ import main
sys.exit(main(["prepare", "mnist", "--data-dir", sys.argv[1]]))
"""


def test_preparing_offline_fails_soon_and_leaves_nothing_behind(tmp_path):
    """In a process of its own: TFDS keeps trying in threads that outlive the error."""
    command = [sys.executable, "-c", OFFLINE, tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=150)  # 200 s with the retries of TFDS
    assert done.returncode == 2
    assert 'error: cannot prepare "mnist": ' in done.stderr and "Traceback" not in done.stderr
    assert not list((tmp_path / "mnist").iterdir())


def test_a_catalogue_folder_that_lacks_files_is_left_to_its_owner(catalogue, tmp_path, capsys, offline):
    shutil.copytree(pathlib.Path(catalogue[0]) / "mnist", tmp_path / "mnist")
    shard = next((tmp_path / "mnist" / "3.0.1").glob("*train*"))
    shard.unlink()
    assert "prepare mnist" in refused(offline, lambda: Images("mnist").open("test", str(tmp_path)))
    assert main(["prepare", "mnist", "--data-dir", str(tmp_path)]) == 2
    assert f"{shard.parent} lacks files" in capsys.readouterr().err
    assert shard.parent.exists()


@pytest.mark.fault("F39")
@pytest.mark.parametrize("named", ["digits", "mnist"])
def test_files_that_hold_other_examples_than_is_said_are_named(named, catalogue, data_dir, tmp_path, offline):
    """A description that lost some, and a file that another one was written over."""
    origin = pathlib.Path(catalogue[0] if named == "mnist" else data_dir) / named
    shutil.copytree(origin, tmp_path / named)
    (info,) = (tmp_path / named).glob("*/dataset_info.json")
    written = info.read_text()
    said = json.loads(written)
    (train,) = (split for split in said["splits"] if split["name"] == "train")
    train["shardLengths"] = [str(int(count) - 1) for count in train["shardLengths"]]
    info.write_text(json.dumps(said))
    message = refused(offline, lambda: Images(named).open("train", str(tmp_path)))
    assert "dataset_info.json beside it says" in message and "-train." in message
    info.write_text(written)
    assert len(Images(named).open("train", str(tmp_path)))
    one, other = (next(info.parent.glob(f"*-{name}.array*")) for name in ("train", "test"))
    one.write_bytes(other.read_bytes())
    message = refused(offline, lambda: Images(named).open("train", str(tmp_path)))
    assert message.startswith(f"{one} holds ") and message.endswith(f"delete {info.parent}, then prepare it again")


def test_bad_usage_of_the_command_exits_with_2(tmp_path, capsys):
    assert main(["prepare", "mnst", "--data-dir", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith('error: unknown dataset "mnst"')
    for arguments in ([], ["prepar"], ["prepare", "digits", "--data-dri", "x"]):
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        assert caught.value.code == 2


def test_a_builder_is_known_until_its_dataset_is_written_again(data_dir, tmp_path):
    """TFDS forgets none, so a study that opened its data for every trial would grow."""
    shutil.copytree(pathlib.Path(data_dir, "digits"), tmp_path / "digits")
    builder = catalog.find("digits", str(tmp_path))
    assert catalog.find("digits", str(tmp_path)) is builder
    (info,) = tmp_path.rglob("dataset_info.json")
    os.utime(info, ns=(0, 0))
    assert catalog.find("digits", str(tmp_path)) is not builder
    shutil.rmtree(tmp_path / "digits")
    assert not preparation.is_prepared(catalog.find("digits", str(tmp_path)))


def test_no_builder_is_taken_for_that_of_another_folder_or_version(catalogue, tmp_path, offline):
    """Not even in a copy, whose files are as old."""
    for folder in ("one", "other"):
        shutil.copytree(pathlib.Path(catalogue[0]) / "mnist", tmp_path / folder / "mnist")
    for name in ("mnist", "mnist:3.0.1"):
        for folder in ("one", "other"):
            builder = catalog.prepared(name, str(tmp_path / folder))
            assert pathlib.Path(builder.data_path) == tmp_path / folder / "mnist/3.0.1"
    assert "cannot be described" in refused(offline, lambda: catalog.find("mnist:1", str(tmp_path / "one")))
    assert len(Images("mnist").open("test", str(tmp_path / "other"))) == 17
