"""A user's own images: a folder for each class, and splits of them that share no image."""

import functools
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, get_args

import numpy as np

from research.data import splits
from research.data.images import image_files
from research.data.images.entries import Entry, image, label
from research.data.splits import Split
from research.data.storage import digests, folders
from research.errors import UsageError, shortened

SHARES: dict[Split, float] = {"train": 0.8, "validation": 0.1, "test": 0.1}
CARVED: dict[Split, float] = {"train": 0.9, "validation": 0.1}


class Listed(NamedTuple):
    """An image file before it is opened: its class by number, the split it lies in, and when and how large it was."""

    path: Path
    label: int
    split: Split | None
    version: tuple[int, int]


class File(NamedTuple):
    """An image file: its class by number, the split it lies in, the digest of its bytes and its shape [h, w, c]."""

    path: Path
    label: int
    split: Split | None
    digest: str
    shape: tuple[int, int, int]


class Files:
    """Decodes images when they are asked for: {"image": uint8 [h, w, c], "label": int}.

    Where one is damaged, all that are so among `every` file of the folder are named.
    """

    def __init__(self, files: Sequence[File], every: Sequence[File]) -> None:
        self._files, self._every = files, every

    def __len__(self) -> int:
        return len(self._files)

    def __getitems__(self, keys: Sequence[int], /) -> Sequence[dict[str, Any]]:
        try:
            return [
                {"image": image_files.decode(self._files[key].path), "label": self._files[key].label} for key in keys
            ]
        except UsageError:  # whoever mends one wants to know of all
            for _ in image_files.read_all((file.path for file in self._every), image_files.decode):
                pass
            raise


def describe(folder: str, size: int | None) -> dict[str, Entry]:
    """Return what an example is, from the names of classes and the header of one image.

    Raises:
        UsageError: there is no such folder, it is not laid out as `source` says, or that header is damaged.
    """
    parts, class_names = _layout(folder)
    first = next(iter(parts.values())) / class_names[0]
    try:
        shape = image_files.shape(_images(first)[0])
    except UsageError:  # that names all that are like it, where there are more
        _read(folder)
        raise
    return {"image": image(shape, size), "label": label(class_names)}


def source(folder: str, split: Split, uniform: bool) -> Files:
    """Return the examples of a split, by class and then by name.

    The images of a class lie in FOLDER/CLASS, about 80, 10 and 10 % of each class being train, validation and test by a
    fixed seed; or in FOLDER/train/CLASS, FOLDER/validation/CLASS and FOLDER/test/CLASS, where without a folder
    validation it is a tenth of each class of train, which loses it. Files that begin with "." or do not end with
    one of `SUFFIXES` are left out. Of files with the same bytes one is kept: that of test before that of validation,
    then the first by name.

    Args:
        folder: path.
        split: "train", "validation" or "test".
        uniform: whether all images must be of one size.

    Raises:
        UsageError: as `describe`; a header is damaged, some images are grey and some in colour, one is in two classes,
            sizes differ though `uniform`, or the split is empty.
    """
    files = _read(folder)
    if uniform:
        _check_sizes(files)
    parted, copies = _parted(files)
    if not parted[split]:
        left_out = f", and {copies} that were left out as copies of others" if copies else ""
        raise UsageError(f"{folder} has too few images for its {split} split{left_out}; add some")
    return Files(parted[split], files)


def digest(folder: str) -> str:
    """Return the digest of all images of a folder. Raises `UsageError` as `source`."""
    root = folders.existing(folder)
    return digests.of_folder((file.path.relative_to(root).as_posix(), file.digest) for file in _read(folder))


def side(folder: str, most: int) -> int | None:
    """Return the side to scale images to, `most` at most; None where all are of one size that is no larger.

    Raises:
        UsageError: as `source`.
    """
    shapes = {file.shape[:2] for file in _read(folder)}
    if len(shapes) == 1 and max(map(max, shapes)) <= most:
        return None
    return min(most, *map(min, shapes))


def record(folder: str) -> dict[str, str]:
    """Return `dataset.json`: classes, images of each class and split, copies left out, and a digest of all files.

    Raises:
        UsageError: as `source`.
    """
    _, class_names = _layout(folder)
    files = _read(folder)
    parted, copies = _parted(files)
    counts = {
        split: np.bincount([file.label for file in part], minlength=len(class_names)).tolist()
        for split, part in parted.items()
    }
    described = {
        "dataset": folder,
        "splits": {split: dict(zip(class_names, count, strict=True)) for split, count in counts.items()},
        "copies_left_out": copies,
        "sha256": digest(folder),
    }
    return {"dataset.json": json.dumps(described, indent=2) + "\n"}


def _layout(folder: str) -> tuple[dict[Split | None, Path], tuple[str, ...]]:
    """Return the folders that hold those of the classes, by split or one for all, and the names of the classes."""
    parts = _parts(folders.existing(folder))
    names = {split: _folders(part) for split, part in parts.items()}
    (first, expected), *others = names.items()
    for split, found in others:
        for name in sorted(set(expected) ^ set(found)):
            has, lacks = (first, split) if name in expected else (split, first)
            raise UsageError(
                f'{parts[lacks]} has no folder "{name}", which {parts[has]} has, but {shortened(names[lacks])}; every '
                "split must have the same classes: put images of it there too, or leave it out of all"
            )
    if len(expected) < 2:
        raise UsageError(
            f'{parts[first]} has one folder, "{expected[0]}"; there must be one for each of several classes'
        )
    return parts, expected


def _parts(root: Path) -> dict[Split | None, Path]:
    """Return the folder of each split, or `root` for all of them."""
    found, names = _folders(root), get_args(Split)
    named = [name for name in names if name in found]
    # A class may have the name of a split too; then images lie in its folder, and classes beside it.
    nested = any(path.is_dir() for name in named for path in _entries(root / name))
    if not nested and set(found) - set(named):
        return {None: root}
    for name in found:
        if name not in named:
            raise UsageError(f"{root / name} lies beside folders of splits, which are {', '.join(names)}; rename it")
    for name in ("train", "test"):
        if name not in named:
            raise UsageError(f'{root} has folders of splits, but none named "{name}"')
    return {name: root / name for name in named}


def _folders(parent: Path) -> tuple[str, ...]:
    """Return the names of the folders within a folder, sorted."""
    entries = _entries(parent)
    if loose := [path for path in entries if _is_image(path)]:
        raise UsageError(f"{loose[0]} is in no class: put each image into a folder named after its class")
    names = tuple(path.name for path in entries if path.is_dir())
    if not names:
        raise UsageError(f"{parent} has no folders of images, of which there must be one for each class")
    return names


def _images(folder: Path) -> list[Path]:
    """Return the image files of a class, sorted."""
    entries = _entries(folder)
    if inner := [path for path in entries if path.is_dir()]:
        raise UsageError(f"{inner[0]} is a folder within a class; put its images into {folder}")
    images = [path for path in entries if _is_image(path)]
    if not images:
        raise UsageError(f"{folder} has no images ({', '.join(image_files.SUFFIXES)}); add some, or remove it")
    return images


def _entries(folder: Path) -> list[Path]:
    """Return what lies in a folder, sorted by name, hidden entries left out."""
    try:
        entries = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise UsageError(f"cannot read {folder}: {error.strerror}") from error
    for path in entries:
        folders.check_link(path)
    return entries


def _is_image(path: Path) -> bool:
    """Return whether a file is named as an image."""
    return path.suffix.lower() in image_files.SUFFIXES and path.is_file()


def _read(folder: str) -> tuple[File, ...]:
    """Return all images of a folder; opened again when one has changed."""
    parts, class_names = _layout(folder)
    listed = []
    for split, part in parts.items():
        for number, name in enumerate(class_names):
            for path in _images(part / name):
                status = path.stat()
                listed.append(Listed(path, number, split, (status.st_mtime_ns, status.st_size)))
    return _opened(tuple(listed))


# Two, because a run opens the same folder for every split.
@functools.lru_cache(maxsize=2)
def _opened(listed: tuple[Listed, ...]) -> tuple[File, ...]:
    """Read the header and digest the bytes of every file."""
    files = []
    shapes = image_files.read_all((file.path for file in listed), image_files.shape)
    for (path, number, split, _), shape in zip(listed, list(shapes), strict=True):
        with path.open("rb") as content:
            files.append(File(path, number, split, hashlib.file_digest(content, "sha256").hexdigest(), shape))
        if shape[-1] != files[0].shape[-1]:
            grey, colour = (path, files[0].path) if shape[-1] == 1 else (files[0].path, path)
            raise UsageError(f"{grey} is grey and {colour} is in colour; convert them so that all are one or the other")
    return tuple(files)


def _parted(files: Sequence[File]) -> tuple[dict[Split, list[File]], int]:
    """Return the files of each split without copies, and how many copies were left out."""
    kept: dict[str, File] = {}
    rank = {None: 0, "test": 0, "validation": 1, "train": 2}
    for file in sorted(files, key=lambda file: rank[file.split]):
        first = kept.setdefault(file.digest, file)
        if first.label != file.label:
            raise UsageError(f"{first.path} and {file.path} are the same image in two classes; remove one of them")
    parted: dict[Split, list[File]] = {name: [] for name in get_args(Split)}
    for file in files:
        if kept[file.digest] is file:
            parted[file.split or "train"].append(file)
    if files[0].split is None:
        parted = _cut(parted["train"], SHARES)
    elif all(file.split != "validation" for file in files):
        parted |= _cut(parted["train"], CARVED)
    return parted, len(files) - len(kept)


def _cut(files: Sequence[File], shares: dict[Split, float]) -> dict[Split, list[File]]:
    """Return the files of each split, every class cut alike."""
    if not files:
        return {name: [] for name in shares}
    parts = splits.stratified(np.array([file.label for file in files]), shares)
    return {name: [files[i] for i in indices] for name, indices in parts.items()}


def _check_sizes(files: Sequence[File]) -> None:
    """Raise unless all images are of one size."""
    first = files[0]
    for file in files:
        if file.shape != first.shape:
            (h, w, _), (other_h, other_w, _) = first.shape, file.shape
            raise UsageError(
                f"{first.path} is {w} x {h} pixels and {file.path} is {other_w} x {other_h}: set data.size, the "
                "side in pixels to scale to"
            )
