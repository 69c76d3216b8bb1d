"""The patches of this folder: what they say, what they touch, and whether they still apply."""

import os
import subprocess
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]
TESTS = "Tests: "


class Mutation(NamedTuple):
    """One patch: its name, its file, its first line, which says what is broken and whom that would hurt, and tests.

    These are the ones that its second line may name, after `TESTS`.
    """

    name: str
    file: Path
    prose: str
    tests: tuple[str, ...] = ()


def mutations(folder: Path = FOLDER) -> list[Mutation]:
    """Return all mutations, by name."""
    return [read(file) for file in sorted(folder.glob("*.patch"))]


def read(file: Path) -> Mutation:
    """Return the mutation that a file describes."""
    prose, second, *_ = file.read_text(encoding="utf-8").split("\n", 2)
    return Mutation(file.stem, file, prose, tuple(second[len(TESTS) :].split()) if second.startswith(TESTS) else ())


def touched(patch: Path) -> list[str]:
    """Return the files that git would change, those that a patch makes or removes among them."""
    listed = apply(patch, ROOT, "--numstat", "-z").stdout
    return [line.split("\t", 2)[2] for line in listed.split("\0") if line]


def fault(patch: Path, root: Path = ROOT) -> str | None:
    """Return why a patch does not apply to the tree in `root`; None where it does."""
    return reason(apply(patch, root, "--check"))


def reason(tried: subprocess.CompletedProcess[str]) -> str | None:
    """Return what git says where it could not apply a patch; None where it could."""
    return None if tried.returncode == 0 else " ".join(tried.stderr.split()) or f"git exited with {tried.returncode}"


def apply(patch: Path, root: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run `git apply` in `root`, which need not be a repository.

    Where it is none but lies in one, git would ask for that, take all paths of the patch for those of files elsewhere,
    and leave them out without a word. So it may not look beyond `root`, whatever a hook that runs this has told it.
    """
    told = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return subprocess.run(
        ["git", "apply", "--whitespace=nowarn", *options, str(patch.resolve())],
        cwd=root,
        env={**told, "GIT_CEILING_DIRECTORIES": str(root.resolve().parent)},
        capture_output=True,
        text=True,
    )
