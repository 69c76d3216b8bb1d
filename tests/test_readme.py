"""The README runs as written."""

import ast
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.families import FAMILIES

README = Path(__file__).parents[1] / "README.md"
ROOT = str(README.parent)


@pytest.fixture
def text():
    return README.read_text()


def blocks(text, language):
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


def test_commands(text, data_dir, tmp_path, monkeypatch):
    """Every command that needs no network, in order and in one folder, with --smoke.

    Each in a process of its own, as a reader runs them: half a minute.
    """
    monkeypatch.setenv("TFDS_DATA_DIR", data_dir)
    monkeypatch.setenv("PYTHONPATH", ROOT)
    commands = [
        shlex.split(line, comments=True)
        for block in blocks(text, "bash")
        for line in block.splitlines()
        if line.startswith("python ")
    ]
    assert len(commands) >= 6
    for _, *words in commands:
        done = subprocess.run(
            [sys.executable, *words, "--smoke"] if "--smoke" not in words else [sys.executable, *words],
            capture_output=True,
            text=True,
            cwd=tmp_path,
        )
        assert (done.returncode, done.stderr) == (0, ""), words


def test_python(text, data_dir, tmp_path, monkeypatch, capsys):
    """The example runs and prints what its comment says."""
    monkeypatch.setenv("TFDS_DATA_DIR", data_dir)
    monkeypatch.chdir(tmp_path)
    (example,) = [block for block in blocks(text, "python") if "import" in block]
    exec(compile(example, "README.md", "exec"), {})
    assert "['model.channels']\n" in capsys.readouterr().out
    assert (tmp_path / "runs" / "wider" / "result.json").exists()


def faults(*nodes):
    """Return the faults that marks in a piece of source are about."""
    calls = [call for node in nodes for call in ast.walk(node) if isinstance(call, ast.Call)]
    marks = [call for call in calls if ast.unparse(call.func) == "pytest.mark.fault"]
    return [ast.literal_eval(number) for mark in marks for number in mark.args]


def test_every_fault_has_a_row_whose_test_is_marked_with_it(text):
    """And none of them is expected to fail."""
    marked = set()
    for path in (README.parent / "tests").rglob("test_*.py"):
        source = ast.parse(path.read_text())
        assert "xfail" not in {node.attr for node in ast.walk(source) if isinstance(node, ast.Attribute)}
        assigned = [each for each in source.body if isinstance(each, ast.Assign)]
        of_all = faults(*(each for each in assigned if ast.unparse(each.targets[0]) == "pytestmark"))
        functions = [each for each in ast.walk(source) if isinstance(each, ast.FunctionDef)]
        for function in functions:
            marked |= {(number, function.name) for number in [*of_all, *faults(*function.decorator_list)]}
            marked |= {(number, f"{path.name}::{function.name}") for number in faults(*function.decorator_list)}
    rows = re.findall(r"^\| (F\d+) \|.*\| `([\w.:]+)` \|$", text, flags=re.MULTILINE)
    assert [number for number, _ in rows] == [f"F{number}" for number in range(1, 35)]
    assert set(rows) <= marked
    assert f"each of {len(FAMILIES)} families" in text


def test_the_value_shown_is_the_value(text):
    from experiments import digits_cnn

    (shown,) = [block for block in blocks(text, "python") if "experiment = Experiment(" in block]
    assert shown in Path(digits_cnn.__file__).read_text()


def test_links_lead_somewhere(text):
    for target in re.findall(r"\]\(([^)]+)\)", text):
        assert target.startswith("https://") or (README.parent / target).exists(), target


def test_make_targets_exist(text):
    makefile = (README.parent / "Makefile").read_text()
    for target in re.findall(r"`?make ([a-z-]+)", text):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target
