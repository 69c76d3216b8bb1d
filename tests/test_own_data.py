"""One command for one's own files of each kind: what is found, that flags win, and what is said of mistakes."""

import dataclasses
import importlib
import os
import shutil

import numpy as np
import pytest
from PIL import Image

from research import cli
from research.ablation.design.study import check, plan
from research.data import Images, Sequences, Series, Table, Text
from research.data.statistics import rounded
from research.errors import UsageError
from research.experiment import difference, fingerprint, fit, replace

KINDS = ("images", "table", "text", "sequences", "series")
NAMES = {
    "images": {"data.name": "./photos"},
    "table": {"data.name": "flowers.csv", "data.target": ("species",)},
    "text": {"data.name": "./notes"},
    "sequences": {"data.name": "gestures.npz"},
    "series": {"data.name": "river.csv"},
}
CHANGED = {
    "images": "photos/cat/0.png",
    "table": "flowers.csv",
    "text": "notes/0.md",
    "sequences": "gestures.npz",
    "series": "river.csv",
}
WORDS = ("lily", "rose", "iris")
EVERY = pytest.mark.parametrize("kind", KINDS)


def module(kind):
    return importlib.import_module(f"experiments.own_{kind}")


def fitted(kind, given=frozenset(), data_dir=None, **others):
    """Return the experiment of a module with the files of a reader, as its command has it."""
    typed = NAMES[kind] | {path.replace("__", "."): value for path, value in others.items()}
    value = replace(module(kind).experiment, typed)
    return getattr(module(kind), "fit", fit)(value, {*given, *typed}, data_dir)


@pytest.fixture
def own(tmp_path, monkeypatch):
    """The files of a reader, in the current folder."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    generator = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (folder / "photos" / name).mkdir(parents=True)
        for index in range(10):
            pixels = generator.integers(0, 256, (40, 35, 3), np.uint8)
            Image.fromarray(pixels).save(folder / "photos" / name / f"{index}.png")
    (folder / "notes").mkdir()
    for index in range(10):
        (folder / "notes" / f"{index}.md").write_text(f"All else equal, but for {index}.\n" * 9)
    rows = generator.normal(size=(60, 2))
    write("flowers.csv", "a,b,species", [(*row, WORDS[index % 3]) for index, row in enumerate(rows)])
    write("houses.csv", "rooms,age,price", [(*row, 1000 + 10 * row[0]) for row in rows])
    write("river.csv", "time,level", list(enumerate(7 + generator.normal(size=90))))
    features = generator.normal(3, 2, (40, 8, 2))
    np.savez("gestures.npz", features=features, label=np.arange(40) % 4, lengths=2 + np.arange(40) % 5)
    return folder


def write(path, header, rows):
    lines = [header, *(",".join(map(str, row)) for row in rows)]
    with open(path, "w") as file:
        file.write("\n".join(lines))


@EVERY
def test_the_value_of_a_sample_is_what_would_be_found_in_it(kind, data_dir):
    """So that the command without a name of data is the same experiment whether it is looked for or not."""
    value = module(kind).experiment
    found = getattr(module(kind), "fit", fit)(value, frozenset(), data_dir)
    assert difference(value, found) == []


@EVERY
def test_what_is_found_is_a_function_of_what_is_in_the_files(kind, own, monkeypatch):
    """The same elsewhere and later, and found again; one byte more is another value, and the old one refuses it."""
    value = fitted(kind)
    assert len(value.data.sha256) == 64 and len(value.data.open("train"))
    assert getattr(module(kind), "fit", fit)(value, frozenset(), None) == value
    other = own.parent / "there"
    shutil.copytree(own, other)
    for path in other.rglob("*"):
        os.utime(path, (1, 1))
    monkeypatch.chdir(other)
    again = fitted(kind)
    assert again == value and fingerprint(again) == fingerprint(value)
    change(kind)
    changed = fitted(kind)
    assert "data.sha256" in difference(value, changed) and fingerprint(changed) != fingerprint(value)
    with pytest.raises(
        UsageError, match=r'^".*" is not what data.sha256 says, but has changed: its digest is [0-9a-f]+;'
    ):
        value.data.open("train")


def change(kind):
    """Change a file by as little as still is such a file."""
    if kind == "images":
        Image.new("RGB", (35, 40)).save(CHANGED[kind])
    elif kind == "sequences":
        arrays = dict(np.load(CHANGED[kind]))
        arrays["features"][0] += 1
        np.savez(CHANGED[kind], **arrays)
    else:
        with open(CHANGED[kind], "a") as file:
            file.write("\n" if kind != "text" else "More.")


@EVERY
def test_the_study_of_a_sample_fits_the_files_too(kind, own):
    """No axis says otherwise than what is found there, so every model gives what the task reads."""
    (study,) = module(kind).studies.values()
    value = replace(fitted(kind), {path: size for path, size in module(kind).smoke.items() if path != "batch_size"})
    check(plan(value, study))


def test_sizes_and_classes_are_those_of_the_files(own):
    images = fitted("images")
    assert (images.data.size, len(images.data.mean), images.model.classes) == (32, 3, 2)
    for path in (own / "photos").rglob("*.png"):
        Image.open(path).resize((9, 11)).save(path)
    assert fitted("images").data.size is None
    table = fitted("table")
    assert (table.data.features, table.data.classes, table.model.classes) == (2, ("iris", "lily", "rose"), 3)
    labels = np.concatenate([table.data.open(split).arrays()["label"] for split in ("train", "validation", "test")])
    assert np.bincount(labels).tolist() == [20, 20, 20]
    sequences = fitted("sequences").data
    assert (sequences.length, sequences.channels, sequences.labels) == (6, 2, 4)
    assert fitted("series").data.column == "level" and not fitted("series").data.presence
    write("river.csv", "level", [(index if index % 5 else "",) for index in range(90)])
    assert fitted("series").data.presence


def test_classes_are_words_and_few_whole_numbers_and_else_there_is_a_number_to_estimate(own):
    """By the numbers alone: from 0 on they are themselves, others are words in their order."""

    def found(cells):
        write("flowers.csv", "a,species", list(enumerate(cells)))
        data = fitted("table").data
        return data.kind, data.outputs, data.classes

    assert found([index % 3 for index in range(60)]) == ("classes", 3, ())
    assert found([8 + index % 3 for index in range(60)]) == ("classes", 3, ("8", "9", "10"))
    assert found([index % 3 / 2 for index in range(60)])[0] == "regression"
    assert found(range(60)) == ("regression", 1, ())


def test_statistics_are_those_of_the_training_split(own):
    """Whatever is in the others changes nothing but the digest."""
    series = fitted("series")
    mean, std = series.data.statistics()
    assert abs(mean - series.data.mean) < 0.005 * std and abs(std / series.data.std - 1) < 0.005
    lines = (own / "river.csv").read_text().splitlines()
    (own / "river.csv").write_text("\n".join([*lines[:-18], *(f"{1000 + row},1e6" for row in range(18))]))
    assert difference(series, fitted("series")) == ["data.sha256"]
    houses = {"data__name": "houses.csv", "data__target": ("price",)}
    table = fitted("table", **houses)
    price = table.data.open("train").arrays()["target"]
    assert abs(price.mean() - table.data.level[0]) < 0.005 * price.std()
    arrays = dict(np.load("gestures.npz"))
    past = np.arange(8) >= arrays["lengths"][:, None]
    sequences = fitted("sequences")
    np.savez("gestures.npz", **arrays | {"features": np.where(past[..., None], 1e6, arrays["features"])})
    assert difference(sequences, fitted("sequences")) == ["data.sha256"]  # padding is not looked at either


def test_means_have_three_digits_of_their_deviation():
    pairs = [(42.8611, 34.2177), (0.087777, 0.12816), (152345.6, 1234.5), (5.0, 0.0), (-0.0004, 1.0)]
    mean, std = rounded(pairs)
    assert mean == (42.9, 0.088, 152350.0, 5.0, 0.0) and std == (34.2, 0.128, 1230.0, 1.0, 1.0)
    assert str(mean[-1]) == "0.0"


@pytest.fixture
def described(monkeypatch, capsys):
    """Types a command and returns exit code, the experiment that it would describe, and what was printed."""

    def run(kind, *words):
        seen = []
        monkeypatch.setattr("research.cli.runs.describe", lambda arguments: seen.append(arguments.experiment))
        own_fit = getattr(module(kind), "fit", fit)
        with pytest.raises(SystemExit) as left:
            cli.main(
                module(kind).experiment,
                smoke=module(kind).smoke,
                fit=own_fit,
                file="x.py",
                arguments=["describe", *words],
            )
        out, err = capsys.readouterr()
        return left.value.code or 0, seen[0] if seen else None, out + err

    return run


def test_flags_win_even_where_they_say_what_stands_there_already(own, described):
    code, value, said = described("images", "--data.name", "./photos", "--data.mean", "0.304", "--model.classes=10")
    assert code == 0 and (value.data.mean, value.model.classes, value.data.size) == ((0.304,), 10, 32)
    assert said.startswith("found in ./photos:\n  ") and "data.size 32\n" in said and "data.mean" not in said
    code, value, said = described("images", "--data.name", "./photos", "--data.size", "None")
    assert code == 0 and value.data.size is None
    code, value, _ = described("series", "--data.name", "river.csv", "--data.no-presence", "--data.mean", "42.9")
    assert code == 0 and (value.data.presence, value.data.mean, value.data.column) == (False, 42.9, "level")
    write("wine.csv", "a,grade", [(index, index % 4) for index in range(60)])
    kind = ("--data.kind", "regression")
    code, value, _ = described("table", "--data.name", "wine.csv", "--data.target", "grade", *kind)
    assert (code, value.data.kind, value.model.classes, len(value.data.level)) == (0, "regression", 1, 1)


def test_without_files_of_ones_own_nothing_is_looked_for(described, monkeypatch):
    monkeypatch.setattr("research.experiment.fitting.fit_data", None)
    assert described("series", "--model.hidden", "7")[0] == 0


@pytest.mark.parametrize(
    ("kind", "words", "said"),
    [
        ("images", ("--data.name", "./photo"), "there is no folder photo"),
        ("table", ("--data.name", "houses.csv", "--data.target", "prize"), 'did you mean "price"?'),
        ("table", ("--data.name", "houses.csv"), 'houses.csv has no column "progression"; valid names are'),
        (
            "table",
            ("--data.name", "two.csv", "--data.target", "m"),
            'has no column "m"; valid names are a, city, n, street; set',
        ),
        ("table", ("--data.name", "two.csv", "--data.target", "n"), 'nothing else: "city", "street"; leave them out'),
        ("table", ("--data.name", "gap.csv", "--data.target", "kind"), "gap.csv, line 3: the target is missing; fill"),
        ("table", ("--data.name", "typo.csv", "--data.target", "n"), '"1o" is not a finite number'),
        (
            "table",
            ("--data.name", "many.csv", "--data.target", "n"),
            "120 different cells, and classes are 100 at most",
        ),
        (
            "table",
            ("--data.name", "flowers.csv", "--data.target", "species", "--task.loss", "huber"),
            "task.loss is of another task: flowers.csv is for Classification",
        ),
        ("sequences", ("--data.name", "river.csv"), "sequences are read from .npz files"),
        ("series", ("--data.name", "houses.csv"), 'no column "value"; valid names are age, price, rooms'),
    ],
)
def test_a_mistake_is_one_sentence(kind, words, said, own, described):
    write("two.csv", "city,street,a,n", [("Rome", f"Via {index}", 1, index) for index in range(30)])
    write("gap.csv", "a,kind", [(1, "x"), (2, ""), (3, "y")])
    write("typo.csv", "a,n", [(index, index if index != 4 else "1o") for index in range(30)])
    write("many.csv", "a,n", [(index, f"word {index}") for index in range(120)])
    code, value, text = described(kind, *words)
    assert (code, value, text.count("\n")) == (2, None, 1) and said in text, text


def test_a_word_that_is_no_class_is_named_with_its_line(own):
    value = Table("flowers.csv", features=2, kind="classes", target=("species",), outputs=2, classes=("lily", "rose"))
    with pytest.raises(
        UsageError, match=r'^flowers.csv, line 4, column "species": "iris" is none of the classes lily, rose'
    ):
        value.open("train")
    many = dataclasses.replace(value, outputs=30, classes=tuple(map(str, range(30))))
    with pytest.raises(
        UsageError, match="is none of the classes 0, 1, .*, 9 and 20 more; correct it, or add it to data"
    ):
        many.open("test")


@pytest.mark.parametrize(
    "data",
    [Images("digits"), Text(), Sequences(), Series(), Table("diabetes", 10)],
    ids=lambda data: type(data).__name__,
)
def test_a_dataset_has_a_version_and_no_digest(data, data_dir):
    with pytest.raises(UsageError, match=r'^".*" is not what data.sha256 says, but is a dataset with a version'):
        replace(data, {"sha256": "0" * 64}).open("train", data_dir)


@EVERY
def test_what_was_read_can_be_looked_at(kind, own, tmp_path):
    """But of images, of which augmentation shows what they are."""
    value = fitted(kind)
    shown = value.data.preview(tmp_path)
    assert list(shown) == {"images": [], "text": ["preview.txt"]}.get(kind, ["preview.png"])
    for name in shown:
        assert (tmp_path / name).stat().st_size > 500
    if kind == "text":
        assert (
            "--- validation: 1 texts, of which the first begins\n\nAll else equal"
            in (tmp_path / "preview.txt").read_text()
        )
