"""Try mutations: break a copy of the checkout with one after the other, and see whether its tests notice."""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO, NamedTuple

from tests.mutations.patches import FOLDER, ROOT, Mutation, apply, fault, mutations, reason, touched
from tests.programs import link

PROGRAMS = Path("build", "test-programs")  # where tests/conftest.py keeps compiled programs
LONGEST = 2 * 3600  # seconds of one run of pytest, after which it hangs
SHOWN = 15  # lines of what pytest said, where something went wrong


class Outcome(NamedTuple):
    """What came of a run of pytest: the first test that failed, or why nothing can be said; neither if all passed."""

    failed: str | None = None
    error: str | None = None


class Verdict(NamedTuple):
    """What came of a mutation: "caught", "SURVIVED" or "error"; and the test that caught it, or what went wrong."""

    word: str
    detail: str = ""


class Copy:
    """A copy of the checkout, in which research is broken and mended again."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._sound: dict[str, Outcome] = {}
        copy_checkout(root)
        link(ROOT / PROGRAMS, root / PROGRAMS)
        # The installed project is the checkout, not this copy, unless the path says otherwise.
        self._environment = {**os.environ, "PYTHONPATH": str(root)}
        self._check_import()

    def _check_import(self) -> None:
        """Raise unless the copy's research is the one that is imported, wherever a process is started."""
        code = "import research; print(research.__file__)"
        command = [sys.executable, "-P", "-c", code]  # -P: not because of the working directory
        found = subprocess.run(command, env=self._environment, capture_output=True, text=True, check=True).stdout
        if self.root not in Path(found.strip()).resolve().parents:
            raise RuntimeError(f"tests would import {found.strip()}, which is not in the copy {self.root}")

    def attempt(self, mutation: Mutation, whole: bool) -> Verdict:
        """Return what the tests make of a mutation."""
        tried = stages(touched(mutation.file), self.root, whole, mutation.tests)
        if said := reason(apply(mutation.file, self.root)):
            return Verdict("error", f"it does not apply: {said}")
        try:
            found = self._first_failure(tried)
        finally:
            if said := reason(apply(mutation.file, self.root, "-R")):
                raise RuntimeError(f"the copy cannot be mended after {mutation.name}: {said}")
        if found.error:
            return Verdict("error", found.error)
        if found.failed is None:
            return Verdict("SURVIVED")
        # What fails without the mutation too has not caught it.
        if (sound := self._without(found.failed)) != Outcome():
            why = sound.error or "it fails without the mutation too"
            return Verdict("error", f"{found.failed} says nothing: {why}")
        return Verdict("caught", found.failed)

    def _first_failure(self, every: Sequence[Sequence[str]]) -> Outcome:
        """Return the outcome of the first stage that does not pass; of all together where they do."""
        outcomes = (self.run(arguments) for arguments in every)
        return next((outcome for outcome in outcomes if outcome != Outcome()), Outcome())

    def _without(self, test: str) -> Outcome:
        """Return what comes of one test in the sound copy."""
        if test not in self._sound:
            self._sound[test] = self.run(["-n", "0", test])
        return self._sound[test]

    def run(self, arguments: Sequence[str]) -> Outcome:
        """Run pytest until the first failure."""
        with tempfile.TemporaryDirectory() as folder:
            cache, said = Path(folder, "cache"), Path(folder, "said")
            command = [sys.executable, "-m", "pytest", "-x", "-q", "-o", f"cache_dir={cache}", *arguments]
            with said.open("wb") as file:  # a pipe would stay open as long as anything that a test started
                try:
                    code = ended(command, self.root, self._environment, file)
                except subprocess.TimeoutExpired:
                    return Outcome(error=f"it was not done after {LONGEST} s: pytest {' '.join(arguments)}")
            return outcome(code, last_failed(cache), said.read_text(errors="replace"))


def ended(command: Sequence[str], root: Path, environment: dict[str, str], output: IO[bytes]) -> int:
    """Run a command to its end and return its exit code. Raises `TimeoutExpired` where it takes too long."""
    process = subprocess.Popen(
        command, cwd=root, env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
    )
    try:
        return process.wait(timeout=LONGEST)
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)  # with its workers
        process.wait()
        raise


def copy_checkout(root: Path) -> None:
    """Copy what git tracks, and what it would, but for this folder and its test.

    A patch that is applied already does not apply again, so that test would catch every mutation.
    """
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    ours = FOLDER.relative_to(ROOT)
    for name in filter(None, listed.split("\0")):
        source, target = ROOT / name, root / name
        if ours in Path(name).parents or name == f"tests/test_{ours.name}.py" or not os.path.lexists(source):
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target, follow_symlinks=False)


def stages(paths: Sequence[str], root: Path, whole: bool, told: Sequence[str] = ()) -> list[list[str]]:
    """Return what to hand to pytest for mutated files, from the likeliest to notice to the longest to run.

    First the tests that the patch names, then those that bear the names of the files, those of their wings, those of
    their rooms, and all others where `whole` asks for them; each once.
    """
    tried = list(told)
    found = [["-n", "0", *told]]  # one process begins sooner than two, and in the same order
    for tests, options in ((named_tests, ["-n", "0"]), (wing_tests, []), (room_tests, [])):
        new = unique(test for path in paths for test in tests(path, root) if test not in tried)
        tried += new
        found.append([*options, *new] if new else [])
    if whole:
        found.append(["tests", *(f"--ignore={test}" for test in tried if "::" not in test)])
    return [arguments for arguments in found if any(argument.startswith("tests") for argument in arguments)]


def named_tests(path: str, root: Path) -> list[str]:
    """Return the test files of a module's room that bear its name, or that of a wing it is in."""
    _, *packages, name = Path(path).with_suffix("").parts
    tests = (root / "tests").joinpath(*packages[:1])
    found = (
        file
        for word in (name, *reversed(packages[1:]))
        for file in sorted((tests.rglob if packages else tests.glob)(f"test_{word}.py"))
    )
    return unique(str(file.relative_to(root)) for file in found)


def wing_tests(path: str, root: Path) -> list[str]:
    """Return the test files in the folder that mirrors a module's own: tests/ROOM/WING for research/ROOM/WING."""
    _, *packages, _ = Path(path).parts
    files = (root / "tests").joinpath(*packages).glob("test_*.py") if packages else ()
    return sorted(str(file.relative_to(root)) for file in files)


def room_tests(path: str, root: Path) -> list[str]:
    """Return the test files of a module's room: tests/ROOM, or tests/test_ROOM*.py; outside of any, all at the top."""
    _, *packages, _ = Path(path).parts
    tests = root / "tests"
    if packages and (tests / packages[0]).is_dir():
        files = (tests / packages[0]).rglob("test_*.py")
    else:
        files = tests.glob(f"test_{packages[0]}*.py" if packages else "test_*.py")
    return sorted(str(file.relative_to(root)) for file in files)


def unique(items: Iterable[str]) -> list[str]:
    """Return items in their order, each once."""
    return list(dict.fromkeys(items))


def last_failed(cache: Path) -> list[str]:
    """Return what pytest remembers to have failed: tests, and files that could not be collected."""
    file = cache / "v" / "cache" / "lastfailed"
    return list(json.loads(file.read_text(encoding="utf-8"))) if file.exists() else []


def outcome(code: int, failed: Sequence[str], said: str) -> Outcome:
    """Return what an exit code of pytest means; 2 is that of pytest-xdist too, where a failure ends the run."""
    tests = [test for test in failed if "::" in test]
    if code == 0:
        return Outcome()
    if code in (1, 2) and tests and len(tests) == len(failed):
        return Outcome(failed=tests[0])
    shown = "\n".join(f"    {line}" for line in said.splitlines()[-SHOWN:])
    return Outcome(error=f"pytest exited with {code} and no test that failed\n{shown}")


def chosen(names: Sequence[str], parser: argparse.ArgumentParser) -> list[Mutation]:
    """Return the mutations of these names, which may end in .patch; all of them where none is given."""
    known = {mutation.name: mutation for mutation in mutations()}
    words = [Path(name).name.removesuffix(".patch") for name in names] or list(known)
    if unknown := [word for word in words if word not in known]:
        parser.error(f"there is no mutation {', '.join(unknown)}; --list names them all")
    return [known[word] for word in unique(words)]


def check(tried: Sequence[Mutation]) -> int:
    """Say which patches do not apply to the checkout; return the exit code."""
    faults = {mutation.name: said for mutation in tried if (said := fault(mutation.file))}
    for name, said in faults.items():
        print(f"error  {name}: {said}")
    print(f"{len(tried) - len(faults)} of {len(tried)} apply")
    return int(bool(faults))


def attempt(tried: Sequence[Mutation], whole: bool) -> int:
    """Try mutations, with a line each; return the exit code."""
    words = []
    with tempfile.TemporaryDirectory(prefix="mutations-") as folder:
        copy = Copy(Path(folder).resolve() / "copy")
        for mutation in tried:
            start = time.perf_counter()
            verdict = copy.attempt(mutation, whole)
            words.append(verdict.word)
            print(line(mutation.name, verdict, time.perf_counter() - start), flush=True)
    print(", ".join(f"{words.count(word)} {word}" for word in ("caught", "SURVIVED", "error")))
    return int(set(words) != {"caught"})


def line(name: str, verdict: Verdict, seconds: float) -> str:
    """Return what is said of one mutation."""
    match verdict.word:
        case "caught":
            return f"caught  {name}  ({verdict.detail})  {seconds:.0f} s"
        case "SURVIVED":
            return f"SURVIVED  {name}  {seconds:.0f} s"
        case _:
            return f"error  {name}: {verdict.detail}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code: 0 where every mutation was caught."""
    parser = argparse.ArgumentParser("python -m tests.mutations", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="mutations to try; default: all")
    parser.add_argument("--whole", action="store_true", help="run the whole suite on what survives its room")
    parser.add_argument("--list", action="store_true", help="say what each of them breaks, and try none")
    parser.add_argument("--check", action="store_true", help="say whether they apply, and try none")
    given = parser.parse_args(arguments)
    tried = chosen(given.names, parser)
    if given.list:
        print("\n".join(f"{mutation.name}: {mutation.prose}" for mutation in tried))
        return 0
    return check(tried) if given.check else attempt(tried, given.whole)


if __name__ == "__main__":
    sys.exit(main())
