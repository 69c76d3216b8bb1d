"""Small files with a digest: what is read of one is what was written, or it is said to be damaged.

A flipped bit in a file of JSON is often good JSON, with another number in it. So the digest of each content is appended
to `digests.jsonl`, in the same folder, before the content is written: a kill between the two leaves the content before,
whose digest is there too, and of two processes that write one file either may be the last. For the same reason digests
are read after the content. A file without any digest was written by an older release, and is read as it is.
"""

import hashlib
import json
from pathlib import Path

from research.training.storage.files import partial_file
from research.training.storage.lineage import append
from research.training.storage.lineage import read as read_lines

NAME = "digests.jsonl"


class DamagedFile(ValueError):
    """A file that holds something else than was written."""


def write(path: Path, text: str) -> None:
    """Write a file whole or not at all, and its digest before it. Raises `OSError` where that is not possible."""
    content = text.encode()
    _announce(path, _digest(content))
    with partial_file(path) as partial:
        partial.write_bytes(content)


def read(path: Path) -> str:
    """Return the text of a file.

    Raises:
        OSError: it cannot be read.
        DamagedFile: it is not what was written; a `ValueError`, as is text that is no UTF-8.
    """
    content = path.read_bytes()
    _compare(path, _digest(content))
    return content.decode()


def seal(path: Path, content: Path | None = None) -> None:
    """Take what a file holds, or `content` that is to be renamed to it, for what was written."""
    _announce(path, _digest_of(content or path))


def check(path: Path) -> None:
    """Raise `DamagedFile` where a file is not what `seal` took it for."""
    if path.exists():
        _compare(path, _digest_of(path))


def damaged(folder: Path) -> list[str]:
    """Return the names of the files in a folder that are not what was written."""
    paths = [path for path in sorted(folder.iterdir()) if path.name in _digests(folder) and path.is_file()]
    return [path.name for path in paths if not _is_known(path, _digest_of(path))]


def was_written(path: Path, text: str) -> bool:
    """Return whether this is what a file should hold, or did before, where that is known."""
    return _digest(text.encode()) in _digests(path.parent).get(path.name, ())


def _announce(path: Path, digest: str) -> None:
    """Write down a digest of what a file is to hold."""
    known = _digests(path.parent).get(path.name, set())
    # Before its first digest, that of what an older release wrote: a kill after this leaves that.
    before = [_digest_of(path)] if not known and path.exists() else []
    for each in dict.fromkeys([*before, digest]):
        if each not in known:
            append(path.with_name(NAME), json.dumps({"file": path.name, "digest": each}))


def _compare(path: Path, digest: str) -> None:
    """Raise `DamagedFile` where a file has digests, and what it holds has another one."""
    if not _is_known(path, digest):
        raise DamagedFile(f"it is not what was written, of which {NAME} has the digest")


def _is_known(path: Path, digest: str) -> bool:
    """Return whether a file has no digest, or this one."""
    known = _digests(path.parent).get(path.name)
    return known is None or digest in known


def _digests(folder: Path) -> dict[str, set[str]]:
    """Return the digests of every file of a folder, by its name."""
    found: dict[str, set[str]] = {}
    for line in read_lines(folder / NAME):
        found.setdefault(str(line.get("file")), set()).add(str(line.get("digest")))
    return found


def _digest(content: bytes) -> str:
    """Return 32 hexadecimal digits of a content."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def _digest_of(path: Path) -> str:
    """Return the same of what a file holds, which is read in parts."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
