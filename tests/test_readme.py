"""The README runs as written."""

import ast
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.families import FAMILIES, WHOLE
from tests.training import forking

README = Path(__file__).parents[1] / "README.md"
ROOT = str(README.parent)


@pytest.fixture
def text():
    return README.read_text()


def blocks(text, language):
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


def test_commands(text, data_dir, tmp_path):
    """Every command that needs no network, in order and in one folder, with --smoke.

    Each in a process of its own, the first as a reader starts it, as is one that starts others; the rest is forked.
    """
    environment = {"TFDS_DATA_DIR": data_dir, "PYTHONPATH": ROOT}
    commands = [
        shlex.split(line, comments=True)
        for block in blocks(text, "bash")
        for line in block.splitlines()
        if line.startswith("python ")
    ]
    assert len(commands) >= 6
    errors = tmp_path.with_name("errors")
    for index, (_, option, module, *words) in enumerate(commands):
        words = words if "--smoke" in words else [*words, "--smoke"]
        assert option == "-m"
        if index == 0 or "ablate" in words:  # a fork cannot have a server of forks of its own
            done = subprocess.run(
                [sys.executable, "-m", module, *words],
                capture_output=True,
                text=True,
                cwd=tmp_path,
                env={**os.environ, **environment},
            )
            assert (done.returncode, done.stderr) == (0, ""), (module, words)
        else:
            call = forking.call(forking.typed, module, words, str(tmp_path), environment, str(errors))
            assert (forking.finish(*call).code, errors.read_text()) == (0, ""), (module, words)


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
    assert f"each of {len(FAMILIES)} families" in text and f"{len(WHOLE)} that have each kind" in text


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
