"""What a file or folder of a user's held, in 64 digits: the same wherever it lies and whenever it was written."""

import hashlib
from collections.abc import Callable, Iterable

from research.errors import UsageError


def of_folder(files: Iterable[tuple[str, str]]) -> str:
    """Return the digest of files, each of them given by its path within their folder and the digest of its bytes."""
    lines = sorted(f"{path}\0{digest}\n" for path, digest in files)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def check(name: str, expected: str, digest: Callable[[], str]) -> None:
    """Raise `UsageError` where a digest is expected of what lies at `name` and another one is found."""
    if expected and (found := digest()) != expected:
        what = f"has changed: its digest is {found}" if found else "is a dataset with a version, and has no digest"
        raise UsageError(
            f'"{name}" is not what data.sha256 says, but {what}; bring the old one back, or leave data.sha256 out'
        )
