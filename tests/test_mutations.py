"""Every mutation says what it breaks and still applies, to research alone; `python -m tests.mutations` tries them."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.mutations.__main__ import Outcome, named_tests, outcome, room_tests, stages, wing_tests
from tests.mutations.patches import ROOT, fault, mutations, read, touched

MUTATIONS = mutations()


def room(path):
    """The package of research that a file is in; research itself for a module in none."""
    return Path(path).parts[1] if len(Path(path).parts) > 2 else "research"


def test_there_are_enough_and_some_in_every_room():
    packages = {path.parent.name for path in (ROOT / "research").glob("*/__init__.py")}
    assert {room(path) for mutation in MUTATIONS for path in touched(mutation.file)} == {*packages, "research"}
    assert len(MUTATIONS) >= 40


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_it_says_what_it_breaks_and_applies_to_research_alone(mutation):
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)+", mutation.name)
    assert re.fullmatch(r"[A-Z`].{39,118}\.", mutation.prose), "begin with a sentence, not with the diff"
    assert fault(mutation.file) is None
    paths = touched(mutation.file)
    assert paths and all(path.startswith("research/") and (ROOT / path).is_file() for path in paths)
    for file, _, name in (test.partition("::") for test in mutation.tests):
        assert f"def {name.partition('[')[0]}" in (ROOT / file).read_text()


def test_no_two_are_the_same():
    diffs = [mutation.file.read_text().partition("\n")[2] for mutation in MUTATIONS]
    assert len(set(diffs)) == len(diffs) == len({mutation.prose for mutation in MUTATIONS})


PATCH = """It counts from the wrong end, which hurts whoever counts.
diff --git a/research/part.py b/research/part.py
--- a/research/part.py
+++ b/research/part.py
@@ -1,3 +1,3 @@
 one
-two
+too
 three
"""


def test_a_second_line_may_name_tests(tmp_path):
    patch = tmp_path / "mutation.patch"
    patch.write_text(PATCH)
    assert read(patch).tests == ()
    patch.write_text(PATCH.replace("\n", "\nTests: tests/test_a.py::test_b tests/c\n", 1))
    assert read(patch).tests == ("tests/test_a.py::test_b", "tests/c") and touched(patch) == ["research/part.py"]


@pytest.mark.parametrize("around", [False, True])
@pytest.mark.parametrize("inside", [False, True])
def test_a_patch_that_does_not_apply_is_found_wherever_the_checkout_lies(around, inside, tmp_path, monkeypatch):
    """In a repository, in none, and in a part of another one, where git says nothing of what it leaves out."""
    root, patch = tmp_path / "other" / "checkout", tmp_path / "mutation.patch"
    (root / "research").mkdir(parents=True)
    (root / "research" / "part.py").write_text("one\ntwo\nthree\n")
    for folder in [root.parent] * around + [root] * inside:
        subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    patch.write_text(PATCH)
    assert fault(patch, root) is None and touched(patch) == ["research/part.py"]
    if around:
        monkeypatch.setenv("GIT_DIR", str(root.parent / ".git"))  # as in a hook
        assert fault(patch, root) is None
    for sound, broken in (("-two", "-2"), (" three", " four"), ("part.py", "none.py")):
        patch.write_text(PATCH.replace(sound, broken))
        assert fault(patch, root)
    patch.write_text(PATCH.partition("\n")[0])
    assert fault(patch, root)


def test_the_tests_that_are_tried_are_those_of_the_room():
    assert named_tests("research/layers/sequences/attention.py", ROOT) == ["tests/layers/sequences/test_attention.py"]
    assert named_tests("research/layers/sequences/lengths.py", ROOT) == []
    assert named_tests("research/ablation/execution/progress.py", ROOT) == [
        "tests/ablation/execution/test_execution.py"
    ]
    assert named_tests("research/ablation/report/tables.py", ROOT) == ["tests/ablation/report/test_report.py"]
    assert named_tests("research/launch.py", ROOT) == ["tests/test_launch.py"]
    of_commands = ("", "_baselines", "_help", "_power", "_studies", "_study_flags")
    assert room_tests("research/cli/runs.py", ROOT) == [f"tests/test_cli{part}.py" for part in of_commands]
    assert {"tests/test_fields.py", "tests/test_cli.py"} < set(room_tests("research/launch.py", ROOT))
    assert {Path(test).parts[1] for test in room_tests("research/data/batching/order.py", ROOT)} == {"data"}
    assert wing_tests("research/data/files.py", ROOT) == ["tests/data/test_schema.py"]
    assert wing_tests("research/launch.py", ROOT) == []
    path, mine = "research/data/batching/order.py", "tests/data/batching/test_order.py"
    told = "tests/test_cli.py::test_a"
    first, named, wing, room, others = stages([path], ROOT, whole=True, told=[told])
    assert (first, named) == (["-n", "0", told], ["-n", "0", mine])
    assert wing and {Path(test).parent for test in wing} == {Path(mine).parent}
    assert mine not in [*wing, *room] and not set(wing) & set(room)
    assert others == ["tests", *(f"--ignore={test}" for test in [mine, *wing, *room])]
    assert stages([path], ROOT, whole=False) == [named, wing, room]


def test_only_a_test_that_fails_catches():
    assert outcome(0, [], "") == Outcome()
    for code in (1, 2):  # 2 is what pytest-xdist makes of the first failure
        assert outcome(code, ["tests/test_a.py::test_b[c - d]"], "") == Outcome(failed="tests/test_a.py::test_b[c - d]")
    for code, failed in ((1, []), (2, []), (2, ["tests/test_a.py"]), (5, []), (4, ["tests/test_a.py::test_b"])):
        found = outcome(code, failed, "first\nlast")
        assert found.failed is None and f"exited with {code}" in found.error and found.error.endswith("last")
