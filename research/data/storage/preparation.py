"""Writing a dataset into a data folder, safely beside other processes that do the same."""

import contextlib
import functools
import importlib.util
import io
import os
from collections.abc import Iterator
from typing import Any

from research.errors import UsageError

MANY = 64
"""Files of a dataset whose examples are counted; of one with more nobody does."""


def is_packaged(builder: Any) -> bool:
    """Return whether a dataset ships inside an installed package, so that writing it needs no download."""
    from research.data.builders import OWN

    return type(builder) in OWN.values()


def is_prepared(builder: Any) -> bool:
    """Return whether every file of the dataset is there, without touching the network."""
    return (
        builder.data_path.exists()  # else TFDS warns that it is not
        and builder.is_prepared()
        and all(path.exists() for split in builder.info.splits.values() for path in split.filepaths)
    )


def check_counts(builder: Any) -> None:
    """Raise `UsageError` where a file holds another number of examples than the dataset's description says.

    They are read as far as it says, whatever else they hold. Datasets of more than `MANY` files are not looked into: on
    a disk behind a network it would take long to open every one.
    """
    if builder.info.file_format.value != "array_record":  # which is said where it is read
        return
    splits = builder.info.splits.values()
    files = [pair for split in splits for pair in zip(split.filepaths, split.shard_lengths, strict=True)]
    for path, count in files if len(files) <= MANY else []:
        status = os.stat(path)
        found = _examples(str(path), status.st_mtime_ns, status.st_size)
        if found not in (count, 0):  # a damaged file has none, which reading it says
            raise UsageError(
                f"{path} holds {found} examples, and dataset_info.json beside it says {count}: delete "
                f"{builder.data_path}, then prepare it again"
            )


@functools.lru_cache(maxsize=4096)
def _examples(path: str, written: int, size: int) -> int:
    """Return how many examples are in a file that was written then, of so many bytes."""
    from array_record.python.array_record_module import ArrayRecordReader

    return int(ArrayRecordReader(path).num_records())


def prepare_packaged(builder: Any) -> None:
    """Write one of our own datasets; a folder that is there but lacks files is replaced.

    Raises:
        UsageError: the package is not installed, or the data folder cannot be written.
    """
    with _writing(builder), quiet():
        # TFDS renames a finished folder into place, so one that exists and is not complete was damaged later.
        if builder.data_path.exists() and not is_prepared(builder):
            builder.data_path.rmtree(missing_ok=True)
            builder = type(builder)(data_dir=builder.data_dir_root)
        builder.download_and_prepare(file_format="array_record")


def prepare_catalogue(builder: Any) -> None:
    """Download and write a dataset of the TFDS catalogue.

    Raises:
        UsageError: TensorFlow is not installed, the download fails, or the data folder cannot be written.
    """
    if builder.data_path.exists() and not is_prepared(builder):
        # TFDS would take it for complete; it may have taken hours, so it is not ours to delete.
        raise UsageError(f"{builder.data_path} lacks files; delete it, then prepare again")
    if importlib.util.find_spec("tensorflow") is None:
        raise UsageError(
            f'preparing "{builder.name}" takes TensorFlow once, reading it does not; '
            'run: pip install "ceteris-research[prepare]"'
        )
    import requests
    from tensorflow_datasets.core.download import downloader, util

    failures = (requests.exceptions.RequestException, util.DownloadError, ImportError, AssertionError)
    # With the default of ten, an offline machine waits for minutes before it says so.
    downloader.MAX_RETRIES = 1
    with _writing(builder):
        try:
            builder.download_and_prepare(file_format="array_record")
        except failures as error:
            raise UsageError(f'cannot prepare "{builder.name}": {first_line(error)}') from error


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


@contextlib.contextmanager
def _writing(builder: Any) -> Iterator[None]:
    """Turn what the file system says into what to do about it."""
    try:
        yield
    except FileExistsError:
        pass  # another process was faster, and wrote the same
    except OSError as error:
        raise UsageError(
            f'cannot write "{builder.name}" to {builder.data_path} ({error.strerror or first_line(error)}); '
            "choose another folder with --data-dir"
        ) from error


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep TFDS from printing progress and announcements; an error still says what went wrong."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield
