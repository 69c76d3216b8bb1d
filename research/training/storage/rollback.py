"""Going back to an earlier checkpoint of a run, with all that came later kept aside."""

import shutil
from pathlib import Path

from research.errors import RunError, UsageError
from research.training.storage import sealed
from research.training.storage.files import partial_file
from research.training.storage.folder import Folder
from research.training.storage.journal import read
from research.training.storage.lineage import Lineage


def rollback(workdir: str | Path, step: int) -> Path:
    """Move what a run wrote after `step` into a folder archive/N of its own, and return that; `train` continues there.

    Those are later checkpoints, the latest and the best, later lines of the journal, the result and the pictures.
    Nothing is deleted, and nothing outside the run folder is touched, whatever result.json says. Where this is cut
    short, calling it again does the rest, into another archive.

    Raises:
        UsageError: `step` is not kept; names the steps that are.
        RunError: this is no run folder, a file of it is damaged, or a process is running in it.
    """
    folder = Folder(workdir)
    if not folder.experiment.exists():
        raise RunError(f"{folder.root} is not a run folder: it has no experiment.json")
    with folder.claimed():
        kept = [int(path.name) for path in _saved(folder, "latest")]
        if step not in kept:
            steps = ", ".join(map(str, kept)) or "none"
            raise UsageError(f"step {step} is not kept in {folder.root}; the steps that are kept: {steps}")
        result, journal = folder.read_result(), Parts(folder.metrics, step)
        archive = _next(folder.archive)
        journal.write_later(archive / folder.metrics.name)
        # The result first: what has one is finished. Then the newest checkpoint first, so that at any moment the latest
        # that is left is one that the run has had.
        pictures = [folder.root / name for name in (result.illustrations if result else ())]  # plain names
        later = [path for kind in ("latest", "best") for path in _saved(folder, kind) if int(path.name) > step]
        for path in (folder.result, folder.details, folder.curves, *pictures, *reversed(later)):
            if path.is_file() or path in later:
                target = archive / path.relative_to(folder.root)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.move(path, target)
        journal.keep_earlier()
        Lineage(folder.lineage).add("rolled back", step=step, archive=str(archive.relative_to(folder.root)))
        return archive


class Parts:
    """The lines of a journal up to a step, and those later, byte for byte. Raises `RunError` where one is damaged."""

    def __init__(self, path: Path, step: int) -> None:
        numbers = [line["step"] for line in read(path)]
        lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
        self._path, paired = path, list(zip(numbers, lines, strict=False))  # a last line may be cut short
        self._earlier = b"".join(line for number, line in paired if number <= step)
        self._later = b"".join(line for number, line in paired if number > step)

    def write_later(self, path: Path) -> None:
        """Write the later lines to another file."""
        with partial_file(path) as partial:
            partial.write_bytes(self._later)

    def keep_earlier(self) -> None:
        """Leave only the earlier lines in the journal."""
        size = len(self._earlier)
        sealed.seal_beginning(self._path, size, sealed.beginning(self._path, size).hexdigest())
        with partial_file(self._path) as partial:
            partial.write_bytes(self._earlier)


def _saved(folder: Folder, kind: str) -> list[Path]:
    """Return the checkpoints of one kind, the oldest first."""
    found = [path for path in (folder.checkpoints / kind).glob("*") if path.name.isdecimal()]
    return sorted(found, key=lambda path: int(path.name))


def _next(archives: Path) -> Path:
    """Make the next numbered folder, and return it."""
    numbers = [int(path.name) for path in archives.glob("*") if path.name.isdecimal()]
    archive = archives / str(max(numbers, default=0) + 1)
    archive.mkdir(parents=True)
    return archive
