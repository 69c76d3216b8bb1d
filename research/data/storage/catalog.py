"""Any TFDS dataset by name, with errors that say what to do. Only `prepare` uses the network."""

import difflib
import functools
import os
import re
from pathlib import Path
from typing import Any

from research.data.storage import preparation
from research.data.storage.folders import is_folder
from research.data.storage.records import Source
from research.errors import UsageError, suggestion


def data_folder(data_dir: str | None = None) -> str:
    """Return the folder of prepared datasets: as given, else TFDS_DATA_DIR, else ~/tensorflow_datasets."""
    return os.path.expanduser(data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets")


def find(name: str, data_dir: str | None = None) -> Any:
    """Return the TFDS builder of a dataset, prepared or not.

    Raises:
        UsageError: there is no such dataset, or it cannot be described without TensorFlow.
    """
    folder = data_folder(data_dir)
    written = _written(name, folder)
    return _known(name, folder, written) if written else _found(name, folder)


def unit(name: str) -> str | None:
    """Return what repeats among the examples of a packaged dataset; None where nothing is known to."""
    from research.data.builders import OWN

    return OWN[name].unit if name in OWN else None


def _written(name: str, folder: str) -> tuple[tuple[str, int], ...]:
    """Return the descriptions of a dataset that are in a folder, and when they were written."""
    base = re.split("[/:]", name)[0]
    if not re.fullmatch(r"\w+", base):
        return ()
    paths = sorted(Path(folder, base).glob("**/dataset_info.json"))
    return tuple((str(path), path.stat().st_mtime_ns) for path in paths)


@functools.lru_cache(maxsize=32)
def _known(name: str, folder: str, written: tuple[tuple[str, int], ...]) -> Any:
    """Return the builder of a dataset that is `written` there: one for all, as TFDS forgets none that it describes."""
    return _found(name, folder)


def _found(name: str, folder: str) -> Any:
    """Return a new builder. Raises `UsageError` as `find` does."""
    import tensorflow_datasets as tfds

    from research.data.builders import OWN

    if name in OWN:
        return OWN[name](data_dir=folder)
    if is_folder(name):
        raise UsageError(
            f'"{name}" is a path: texts and images are read from a folder, numbers from a .csv, .jsonl or .npz file, '
            "texts from a .jsonl file too"
        )
    try:
        with preparation.quiet():
            return tfds.builder(name, data_dir=folder)
    except tfds.core.DatasetNotFoundError as error:
        base = re.split("[/:]", name)[0]
        names = [*OWN, *tfds.list_builders(with_community_datasets=False)]
        hint = f"; {', '.join(OWN)} need no download, the others are at https://www.tensorflow.org/datasets/catalog"
        if difflib.get_close_matches(base, names):
            hint = suggestion(base, names)
        raise UsageError(f'unknown dataset "{name}"{_path_meant(name) or hint}') from error
    except (ImportError, ValueError, AssertionError, RuntimeError) as error:
        reason = preparation.first_line(error).rpartition('}": ')[2]  # TFDS puts all its arguments in front
        raise UsageError(f'dataset "{name}" cannot be described: {reason.rstrip(".")}{_path_meant(name)}') from error


def _path_meant(name: str) -> str:
    """Return how to name a folder or file, where there is one of a dataset's name, as a shell may have completed it."""
    return f'; for the folder or file of that name say "./{name}"' if os.path.exists(name) else ""


def prepared(name: str, data_dir: str | None = None) -> Any:
    """Return the builder of a dataset that is ready to be read; our own datasets are written first if need be.

    Raises:
        UsageError: as `find`; the dataset is not prepared, or not as ArrayRecord, or its files and their description do
            not agree.
    """
    builder = find(name, data_dir)
    if preparation.is_prepared(builder):
        preparation.check_counts(builder)
        return builder
    if not preparation.is_packaged(builder):
        folder = data_folder(data_dir)
        raise UsageError(
            f'dataset "{name}" is not prepared in {folder}; '
            f"run: python -m research.data prepare {name} --data-dir {folder}"
        )
    preparation.prepare_packaged(builder)
    return find(name, data_dir)


def prepare(name: str, data_dir: str | None = None) -> Any:
    """Download and write a dataset unless it is prepared already; return its builder.

    Raises:
        UsageError: as `find`; TensorFlow is missing, the download fails, or the folder is not writable.
    """
    builder = find(name, data_dir)
    if not preparation.is_prepared(builder) and not preparation.is_packaged(builder):
        preparation.prepare_catalogue(builder)
    return prepared(name, data_dir)


def source(builder: Any, expression: str) -> Source:
    """Return random access to the examples of a TFDS split expression such as "train[:800]" or "train+test".

    Raises:
        UsageError: a split that the dataset does not have, or an expression that cannot be read.
    """
    splits = list(builder.info.splits)
    for name in re.findall(r"(?:^|\+)\s*([^\[+]*)", expression):
        if name.strip() not in (*splits, "all"):
            raise UsageError(
                f'dataset "{builder.name}" has no split "{name.strip()}"; its splits are {", ".join(sorted(splits))}'
            )
    try:
        return builder.as_data_source(expression)
    except NotImplementedError as error:
        raise UsageError(
            f'dataset "{builder.name}" in {builder.data_path} is not stored as array_record; '
            "prepare it in another folder with --data-dir"
        ) from error
    except (ValueError, AssertionError) as error:
        reason = preparation.first_line(error)
        raise UsageError(f'split "{expression}" of dataset "{builder.name}" cannot be read: {reason}') from error


def shared(builder: Any, one: str, other: str) -> int:
    """Return how many examples two TFDS split expressions have in common; both have been read by `source`."""
    import tensorflow_datasets as tfds

    splits = builder.info.splits

    def spans(expression: str) -> list[tuple[str, int, int]]:
        """Return the parts of an expression: split, first example, one after the last."""
        parts = tfds.core.ReadInstruction.from_spec(expression).to_absolute(splits)
        ends = [splits[part.splitname].num_examples if part.to is None else part.to for part in parts]
        return [(part.splitname, part.from_ or 0, end) for part, end in zip(parts, ends, strict=True)]

    return sum(
        max(min(stop, other_stop) - max(start, other_start), 0)
        for split, start, stop in spans(one)
        for other_split, other_start, other_stop in spans(other)
        if split == other_split
    )
