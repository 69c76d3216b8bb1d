import hashlib
import itertools
import json
import pathlib
import shutil
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from experiments.digits_cnn import experiment, smoke
from research import cli
from research.data import Batches, Images, count_duplicates, schema
from research.data.images import image_files, image_folders
from research.data.splits import Split
from research.errors import UsageError

SPLITS = Split.__args__
SIZES = {"ants": 20, "bees": 13, "wasps": 31}
DAMAGED = "is damaged, or is not an image; replace or remove it"


def pixels(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def paint(folder, sizes, shape=(5, 7, 3), seed=0):
    """Write random images, PNG by class, and return the class of each by its bytes."""
    classes = {}
    for number, (name, size) in enumerate(sizes.items()):
        (folder / name).mkdir(parents=True)
        for i, image in enumerate(pixels(size, *shape, seed=[seed, number])):
            Image.fromarray(image.squeeze()).save(folder / name / f"{i}.png")
            classes[image.tobytes()] = number
    return classes


def opened(folder, **fields):
    return {split: Images(str(folder), **fields).open(split).arrays() for split in SPLITS}


def refused(folder, **fields):
    """Return the message of the error that opening the splits raises, one line."""
    with pytest.raises(UsageError) as caught:
        opened(folder, **fields)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def folder(tmp_path):
    paint(tmp_path / "insects", SIZES)
    return tmp_path / "insects"


@pytest.mark.parametrize("shape", [(5, 7, 3), (5, 7, 1)])
def test_splits_are_disjoint_complete_and_stratified(shape, tmp_path):
    classes = paint(tmp_path / "insects", SIZES, shape)
    value = Images(str(tmp_path / "insects"))
    names = ("ants", "bees", "wasps")
    assert value.schema() == schema.Schema({"image": schema.Image(*shape), "label": schema.Categorical(3, names)})
    arrays = opened(tmp_path / "insects")
    found = [
        (image.tobytes(), label)
        for split in arrays.values()
        for image, label in zip(split["image"], split["label"].tolist(), strict=True)
    ]
    assert dict(found) == classes and len(found) == len(classes)
    for split, share in {"train": 0.8, "validation": 0.1, "test": 0.1}.items():
        assert {name: item.shape for name, item in value.spec().items()} == {"image": shape, "label": ()}
        counts = np.bincount(arrays[split]["label"], minlength=3)
        assert (np.abs(counts - share * np.array(list(SIZES.values()))) <= 1).all()


def test_the_split_depends_neither_on_the_order_of_listing_nor_on_the_place(folder, tmp_path, monkeypatch):
    first = opened(folder)
    shutil.copytree(folder, tmp_path / "elsewhere")
    listing = pathlib.Path.iterdir
    monkeypatch.setattr(pathlib.Path, "iterdir", lambda self: sorted(listing(self), reverse=True))
    for split, arrays in opened(tmp_path / "elsewhere").items():
        np.testing.assert_array_equal(arrays["image"], first[split]["image"])
        np.testing.assert_array_equal(arrays["label"], first[split]["label"])


def test_of_copies_one_is_kept(folder):
    for i in range(9):
        shutil.copy(folder / "ants" / f"{i}.png", folder / "ants" / f"copy{i}.png")
    arrays = opened(folder)
    counts = count_duplicates({split: map(bytes, array["image"]) for split, array in arrays.items()})
    assert not any(counts["within"].values()) and not any(counts["across"].values())
    assert sum(len(array["label"]) for array in arrays.values()) == sum(SIZES.values())
    assert json.loads(Images(str(folder)).files()["dataset.json"])["copies_left_out"] == 9


def test_folders_of_splits_are_kept(tmp_path):
    sizes = {"train": {"a": 20, "b": 10}, "validation": {"a": 3, "b": 5}, "test": {"a": 4, "b": 2}}
    for seed, (split, classes) in enumerate(sizes.items()):
        paint(tmp_path / split, classes, seed=seed)
    shutil.copy(tmp_path / "test/a/1.png", tmp_path / "train/a/copy.png")
    shutil.copy(tmp_path / "validation/a/1.png", tmp_path / "train/a/another.png")
    for split, arrays in opened(tmp_path).items():
        assert np.bincount(arrays["label"]).tolist() == list(sizes[split].values())
    shutil.rmtree(tmp_path / "validation")
    (tmp_path / "train/a/another.png").unlink()
    counts = {split: np.bincount(arrays["label"]).tolist() for split, arrays in opened(tmp_path).items()}
    assert counts == {"train": [18, 9], "validation": [2, 1], "test": [4, 2]}
    described = json.loads(Images(str(tmp_path)).files()["dataset.json"])
    assert described["splits"]["train"] == {"a": 18, "b": 9} and described["copies_left_out"] == 1


def test_a_class_may_have_the_name_of_a_split(tmp_path):
    paint(tmp_path, {"car": 10, "plane": 10, "train": 10})
    assert Images(str(tmp_path)).class_names() == ("car", "plane", "train")
    assert len(opened(tmp_path)["test"]["label"]) == 3


def test_the_digest_is_of_all_contents(folder):
    before = json.loads(Images(str(folder)).files()["dataset.json"])
    lines = sorted(
        f"{path.relative_to(folder)}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n" for path in folder.glob("*/*")
    )
    assert before["sha256"] == hashlib.sha256("".join(lines).encode()).hexdigest()
    Image.fromarray(pixels(5, 7, 3, seed=99)).save(folder / "bees" / "0.png")
    after = json.loads(Images(str(folder)).files()["dataset.json"])
    assert after["splits"] == before["splits"] and after["sha256"] != before["sha256"]


def test_describing_reads_one_header(folder, monkeypatch):
    headers = []
    shape = image_files.shape
    monkeypatch.setattr(image_files, "shape", lambda path: headers.append(path) or shape(path))
    Images(str(folder)).spec()
    assert headers == [folder / "ants" / "0.png"]


def test_names_that_are_no_images_are_left_out(folder):
    (folder / "ants" / "notes.txt").write_text("")
    (folder / "ants" / ".hidden.png").write_text("")
    (folder / ".cache").mkdir()
    (folder / "README").write_text("")
    Image.fromarray(pixels(5, 7, 3, seed=7)).save(folder / "ants" / "UPPER.PNG")
    assert sum(len(arrays["label"]) for arrays in opened(folder).values()) == sum(SIZES.values()) + 1


MODES = {
    "1.png": 1,
    "L.png": 1,
    "P.png": 3,
    "RGB.png": 3,
    "L.jpg": 1,
    "RGB.jpg": 3,
    "CMYK.jpg": 3,
    "P.gif": 3,
    "RGB.webp": 3,
    "RGB.bmp": 3,
    "RGB.tiff": 3,
}


@pytest.mark.parametrize("name", MODES)
def test_every_kind_is_grey_or_coloured(name, tmp_path):
    image = Image.fromarray(pixels(5, 7, 3)).convert(name.partition(".")[0])
    image.save(tmp_path / name)
    decoded = image_files.decode(tmp_path / name)
    assert decoded.shape == image_files.shape(tmp_path / name) == (5, 7, MODES[name]) and decoded.dtype == np.uint8
    if not name.endswith(("jpg", "webp")):
        expected = np.asarray(image.convert("L" if MODES[name] == 1 else "RGB")).reshape(decoded.shape)
        np.testing.assert_array_equal(decoded, expected)


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tiff"])
@pytest.mark.parametrize("orientation", [*range(1, 9), 77])
def test_images_stand_as_their_orientation_says(suffix, orientation, tmp_path):
    image = np.zeros((24, 40, 3), np.uint8)
    image[:12, :20] = 255  # the quarter at row 0, column 0 of what is stored
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(image).save(tmp_path / f"x.{suffix}", exif=exif)
    decoded = image_files.decode(tmp_path / f"x.{suffix}")
    assert decoded.shape == image_files.shape(tmp_path / f"x.{suffix}")
    assert decoded.shape == ((40, 24, 3) if 5 <= orientation <= 8 else (24, 40, 3))
    h, w, _ = decoded.shape
    corners = decoded[[[1, 1], [h - 2, h - 2]], [[1, w - 2], [1, w - 2]], 0] > 128
    # EXIF 2.3, table 6: where row 0 and column 0 of what is stored are seen.
    seen = {1: (0, 0), 2: (0, 1), 3: (1, 1), 4: (1, 0), 5: (0, 0), 6: (0, 1), 7: (1, 1), 8: (1, 0)}.get(
        orientation, (0, 0)
    )
    assert corners.sum() == 1 and corners[seen]


def triangle(image, side):
    """Scale the centre square of an image by the antialiased bilinear filter, written as loops."""
    h, w, c = image.shape
    scale = min(h, w) / side
    width = max(scale, 1)

    def weights(n):
        rows = np.zeros((side, n))
        for i in range(side):
            centre = (n - min(h, w)) / 2 + (i + 0.5) * scale
            for j in range(n):
                rows[i, j] = max(0, 1 - abs(j + 0.5 - centre) / width)
        return rows / rows.sum(axis=1, keepdims=True)

    return np.einsum("ih,jw,hwc->ijc", weights(h), weights(w), image.astype(float))


@pytest.mark.parametrize("shape", [(11, 17, 3), (17, 11, 1), (5, 5, 3), (11, 14, 4)])
@pytest.mark.parametrize("side", [3, 13])
def test_images_are_scaled_as_loops_do(shape, side):
    image = pixels(*shape)
    scaled = image_files.square(image, side)
    assert scaled.shape == (side, side, shape[-1]) and scaled.dtype == np.uint8
    assert np.abs(scaled - triangle(image, side)).max() <= 1.5  # Pillow rounds after each axis
    np.testing.assert_array_equal(image_files.square(image[:5, :5], 5), image[:5, :5])


def test_images_of_different_sizes_are_read_at_one(folder):
    classes = paint(folder / "more", {"x": 1}, (9, 6, 3))
    (folder / "more" / "x" / "0.png").rename(folder / "bees" / "tall.png")
    shutil.rmtree(folder / "more")
    message = refused(folder)
    assert f"{folder}/ants/0.png is 7 x 5 pixels and {folder}/bees/tall.png is 6 x 9: set data.size" in message
    arrays = opened(folder, size=4)
    assert all(array["image"].shape[1:] == (4, 4, 3) for array in arrays.values())
    (tall,) = (np.frombuffer(image, np.uint8).reshape(9, 6, 3) for image in classes)
    expected = image_files.square(tall, 4).tobytes()
    assert sum(image.tobytes() == expected for array in arrays.values() for image in array["image"]) == 1


def save_colours_of_16_bits(path):
    """Write a PNG that Pillow has no means to write."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + row.tobytes() for row in pixels(5, 7 * 3 * 2))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 7, 5, 16, 2, 0, 0, 0))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def transparent_palette():
    image = Image.fromarray(pixels(5, 7, 3)).convert("P")
    image.info["transparency"] = 0
    return image


WRONG = {
    "garbage": (lambda path: path.write_bytes(b"not an image"), DAMAGED),
    "nothing": (lambda path: path.write_bytes(b""), DAMAGED),
    "half a header": (lambda path: path.write_bytes(path.read_bytes()[:20]), DAMAGED),
    "alpha": (lambda path: Image.fromarray(pixels(5, 7, 4)).save(path), "has transparent pixels"),
    "grey and alpha": (lambda path: Image.fromarray(pixels(5, 7, 2), "LA").save(path), "has transparent pixels"),
    "palette": (lambda path: transparent_palette().save(path), "has transparent pixels"),
    "16 bits": (lambda path: Image.fromarray(pixels(5, 7).astype(np.uint16)).save(path), "more than 8 bits"),
    "16 bits of colour": (save_colours_of_16_bits, "more than 8 bits"),
}


@pytest.mark.fault("F29")
@pytest.mark.parametrize("kind", WRONG)
def test_a_wrong_file_is_named_when_the_folder_is_opened(kind, folder):
    write, reason = WRONG[kind]
    path = folder / "bees" / "7.png"
    write(path)
    with pytest.raises(UsageError) as caught:
        Images(str(folder)).open("test")  # whichever split it is in
    assert str(caught.value).startswith(f"{path} ") and reason in str(caught.value)


@pytest.mark.fault("F29")
def test_damaged_pixels_are_named_when_they_are_read(folder):
    for path in folder.glob("*/*.png"):
        data = path.read_bytes()
        path.write_bytes(data[:60] + bytes(byte ^ 255 for byte in data[60:-20]) + data[-20:])
    records = Images(str(folder)).open("train")
    for read in (records.arrays, lambda: Batches(records, 4, seed=0, residency="stream").batch_at(0)):
        with pytest.raises(UsageError, match=rf"{folder}/.*\.png {DAMAGED}") as caught:
            read()
        assert str(caught.value).startswith(f"{sum(SIZES.values())} images cannot be used:\n")


@pytest.mark.fault("F42")
@pytest.mark.fault("F29")
def test_all_that_are_damaged_are_named_at_once(folder):
    first, second, *_ = sorted(folder.glob("*/*.png"))
    first.write_bytes(b"")
    second.write_bytes(b"no image")
    with pytest.raises(UsageError) as caught:
        Images(str(folder)).open("train")
    lines = ["2 images cannot be used:", f"  {first} {DAMAGED}", f"  {second} {DAMAGED}"]
    assert str(caught.value).splitlines() == lines


def test_grey_among_colours_is_refused(folder):
    Image.fromarray(pixels(5, 7)).save(folder / "bees" / "grey.png")
    message = refused(folder)
    assert message.startswith(f"{folder}/bees/grey.png is grey and {folder}/ants/0.png is in colour; convert them")


def test_one_image_in_two_classes_is_refused(folder):
    shutil.copy(folder / "ants" / "3.png", folder / "wasps" / "ant.png")
    assert refused(folder).startswith(
        f"{folder}/ants/3.png and {folder}/wasps/ant.png are the same image in two classes"
    )


def loose(folder):
    shutil.copy(folder / "ants" / "0.png", folder / "loose.png")


def flat(folder):
    for split, name in zip(("train", "test"), SIZES, strict=False):
        (folder / name).rename(folder / split)
    shutil.rmtree(folder / "wasps")


def nested(folder, *parts):
    for part in parts:
        shutil.copytree(folder / "ants", folder / part / "ants")
        shutil.copytree(folder / "bees", folder / part / "bees")
    for name in SIZES:
        shutil.rmtree(folder / name)


def other_classes(folder):
    nested(folder, "train", "test")
    shutil.copytree(folder / "test" / "ants", folder / "test" / "flies")


def copied(folder):
    nested(folder, "train", "validation", "test")


def empty(folder):
    for name in SIZES:
        shutil.rmtree(folder / name)


def emptied(folder):
    for path in folder.glob("bees/*"):
        path.unlink()


LAYOUTS = {
    "an empty class": (emptied, "{folder}/bees has no images (.png, .jpg, "),
    "no classes": (empty, "{folder} has no folders of images"),
    "images in no class": (loose, "{folder}/loose.png is in no class"),
    "images of a split in no class": (flat, "{folder}/train/0.png is in no class"),
    "one class": (
        lambda folder: [shutil.rmtree(folder / name) for name in ("ants", "wasps")],
        '{folder} has one folder, "bees"',
    ),
    "a folder in a class": (
        lambda folder: (folder / "bees" / "queens").mkdir(),
        "{folder}/bees/queens is a folder within a class",
    ),
    "no test": (lambda folder: nested(folder, "train", "validation"), 'splits, but none named "test"'),
    "another name": (lambda folder: nested(folder, "train", "val"), "{folder}/val lies beside folders of splits"),
    "other classes": (
        other_classes,
        '{folder}/train has no folder "flies", which {folder}/test has, but ants, bees; every split must have',
    ),
    "nothing but copies": (copied, "its train split, and 66 that were left out as copies of others; add some"),
    "a file": (lambda folder: (empty(folder), folder.rmdir(), folder.write_text("")), "{folder} is a file"),
    "no folder": (lambda folder: (empty(folder), folder.rmdir()), "there is no folder {folder}"),
}


@pytest.mark.parametrize("kind", LAYOUTS)
def test_a_wrong_layout_is_named(kind, folder):
    change, reason = LAYOUTS[kind]
    change(folder)
    assert reason.format(folder=folder) in refused(folder)


def test_too_few_images_are_refused(tmp_path):
    paint(tmp_path, {"a": 3, "b": 3})
    assert refused(tmp_path) == f"{tmp_path} has too few images for its test split; add some"


def test_split_expressions_are_refused(folder):
    assert refused(folder, train="train[:5]").endswith(f'"{folder}" is a folder')


@pytest.mark.fault("F42")
def test_images_cut_short_are_named_before_a_run_is_begun(tmp_path, capsys):
    """Whichever split they are in; their headers are sound. Once they are mended the same command trains."""
    for name in ("dark", "light"):
        (tmp_path / name).mkdir()
        for k in range(20):
            Image.fromarray(pixels(8, 8, 3, seed=[k, len(name)])).save(tmp_path / name / f"{k}.png")
    first = [image_folders.source(str(tmp_path), split, uniform=True)._files[0].path for split in SPLITS]
    whole = {path: path.read_bytes() for path in sorted(first)}

    def cut(*paths):
        for path, content in whole.items():
            path.write_bytes(content[:-40] if path in paths else content)

    words = ["--data.name", str(tmp_path), "--model.classes", "2", "--smoke", "--workdir", str(tmp_path / ".run")]

    def run():
        with pytest.raises(SystemExit) as done:
            cli.main(experiment, smoke=smoke, file="digits_cnn.py", doc="A doc.", arguments=words)
        return done.value.code or 0, capsys.readouterr().err

    for path in whole:
        cut(path)
        assert run() == (2, f"error: {path} {DAMAGED}\n")
    cut(*whole)
    code, said = run()
    assert (code, said.splitlines()[0]) == (2, "error: 3 images cannot be used:")
    assert said.splitlines()[1:] == [f"  {path} {DAMAGED}" for path in whole]
    assert not (tmp_path / ".run").exists()
    cut()
    assert run() == (0, "")


def test_a_folder_is_trained_on_from_the_command_line(tmp_path, monkeypatch, capsys):
    def run(*arguments):
        with pytest.raises(SystemExit) as done:
            cli.main(experiment, smoke=smoke, file="digits_cnn.py", doc="A doc.", arguments=list(arguments))
        return done.value.code or 0, capsys.readouterr()

    monkeypatch.chdir(tmp_path)
    sizes = itertools.cycle([(5, 7, 3), (9, 6, 3), (8, 8, 3)])
    for i, name in enumerate(["dark", "light"]):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for k in range(20):
            image = (pixels(*next(sizes), seed=[i, k]) // 2) + 127 * i
            Image.fromarray(image.astype(np.uint8)).save(tmp_path / "photos" / name / f"{k}.png")
    flags = ["--data.name", "./photos", "--model.classes", "2", "--smoke", "--workdir", "run", "--data.shift", "0"]
    code, out = run("train", *flags)
    assert code == 2 and out.err.count("\n") == 1
    assert "photos/dark/0.png is 7 x 5 pixels and photos/dark/1.png is 6 x 9: set data.size" in out.err
    assert run("train", *flags, "--data.size", "8")[0] == 0
    assert json.loads((tmp_path / "run" / "dataset.json").read_text())["splits"]["test"] == {"dark": 2, "light": 2}
    code, out = run("evaluate", "--workdir", "run")
    assert code == 0 and "accuracy" in out.out
    assert run("predict", "--workdir", "run", "--output", "out.csv")[0] == 0
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 5
    Image.fromarray(pixels(8, 8, 3)).save(tmp_path / "photos" / "dark" / "0.png")
    code, out = run("evaluate", "--workdir", "run")
    assert code == 1 and "run/dataset.json is not what the data says now" in out.err
