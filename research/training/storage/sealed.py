"""Small files with a digest: what is read of one is what was written, or it is said to be damaged.

A flipped bit in a file of JSON is often good JSON, with another number in it. So the digest of each content is appended
to `digests.jsonl`, in the same folder, before the content is written: a kill between the two leaves the content before,
whose digest is there too, and of two processes that write one file either may be the last. For the same reason digests
are read after the content. A file without any digest was written by an older release, and is read as it is.

Of a file that grows, what is known is how it begins, once that has reached the disk; it is announced before it is cut
too, and read before the content, so that one may look on while it grows. Of a file to which several processes append,
it is each line.
"""

import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from research.training.storage.files import partial_file
from research.training.storage.lineage import append
from research.training.storage.lineage import read as read_lines

NAME = "digests.jsonl"

SENTENCE = f"it is not what was written, of which {NAME} has the digest"

PIECE = 1 << 20
"""Bytes read at a time."""


class DamagedFile(ValueError):
    """A file that holds something else than was written."""


@dataclasses.dataclass
class Known:
    """What is known of a file: digests of contents, any of which it may have, or how it begins; and of its lines."""

    contents: set[str] = dataclasses.field(default_factory=set)
    beginning: tuple[int, str] | None = None
    """Of a file that grows, so many bytes and their XXH3; None once it is done."""
    lines: set[str] = dataclasses.field(default_factory=set)


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
    if not _is_sound(path, _digest(content)):
        raise DamagedFile(SENTENCE)
    return content.decode()


def seal(path: Path, content: Path | None = None) -> None:
    """Take what a file holds, or `content` that is to be renamed to it, for what was written."""
    _announce(path, _digest_of(content or path))


def seal_beginning(path: Path, size: int, digest: str) -> None:
    """Take the first bytes of a file that grows, which have this XXH3, for what was written."""
    append(path.with_name(NAME), json.dumps({"file": path.name, "bytes": size, "digest": digest}))


def beginning(path: Path, size: int) -> Any:
    """Return the XXH3 of the first bytes of a file, to be updated; of fewer where it has no more, or is not there."""
    import xxhash  # only runs and what reads their journals need it

    found = xxhash.xxh3_128()
    with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
        while size and (piece := file.read(min(size, PIECE))):
            found.update(piece)
            size -= len(piece)
    return found


def seal_lines(path: Path, lines: Iterable[str]) -> set[str]:
    """Take lines that are about to be appended to a file for what was written; return their digests."""
    digests = dict.fromkeys(map(digest, lines))
    if digests:
        append(path.with_name(NAME), "\n".join(json.dumps({"file": path.name, "line": each}) for each in digests))
    return set(digests)


def lines(path: Path) -> set[str]:
    """Return the digests of all lines that a file may have."""
    return _known(path).lines


def digest(line: str) -> str:
    """Return what `lines` has of a line."""
    return _digest(line.encode())


def check(path: Path) -> None:
    """Raise `DamagedFile` where a file is not what it was taken for by `seal`, or begins otherwise."""
    if path.exists() and not _is_sound(path):
        raise DamagedFile(SENTENCE)


def damaged(folder: Path) -> list[str]:
    """Return the names of the files in a folder that are not what was written."""
    known = _all_known(folder)
    paths = [path for path in sorted(folder.iterdir()) if path.name in known and path.is_file()]
    return [path.name for path in paths if not _is_sound(path)]


def was_written(path: Path, text: str) -> bool:
    """Return whether this is what a file should hold, or did before, where that is known."""
    return _digest(text.encode()) in _known(path).contents


def _announce(path: Path, digest: str) -> None:
    """Write down a digest of what a file is to hold."""
    known = _known(path)
    # Before its first digest, that of what an older release wrote: a kill after this leaves that.
    before = [_digest_of(path)] if known == Known() and path.exists() else []
    for each in dict.fromkeys([*before, digest]):
        if each not in known.contents or known.beginning is not None:
            append(path.with_name(NAME), json.dumps({"file": path.name, "digest": each}))


def _is_sound(path: Path, digest: str = "") -> bool:
    """Return whether nothing else is known of a file than what it holds, of which this is the digest if given."""
    for _ in range(2):  # it may be cut, or done, between one reading and the other
        held, known = digest or _digest_of(path), _known(path)
        if known.beginning is not None:
            size, begins = known.beginning
            if beginning(path, size).hexdigest() == begins:
                return True
        elif not known.contents or held in known.contents:
            return True
    return False


def _known(path: Path) -> Known:
    """Return what is known of a file."""
    return _all_known(path.parent).get(path.name, Known())


def _all_known(folder: Path) -> dict[str, Known]:
    """Return what is known of every file of a folder, by its name."""
    found: dict[str, Known] = {}
    for entry in read_lines(folder / NAME):
        known = found.setdefault(str(entry.get("file")), Known())
        if "line" in entry:
            known.lines.add(str(entry["line"]))
        elif isinstance(size := entry.get("bytes"), int):
            known.beginning = size, str(entry.get("digest"))
        else:
            known.contents.add(str(entry.get("digest")))
            known.beginning = None
    return found


def _digest(content: bytes) -> str:
    """Return 32 hexadecimal digits of a content."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def _digest_of(path: Path) -> str:
    """Return the same of what a file holds, which is read in parts."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
