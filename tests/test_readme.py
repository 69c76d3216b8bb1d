"""The README runs as written."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"
ROOT = str(README.parent)


@pytest.fixture
def text():
    return README.read_text()


def blocks(text, language):
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


def test_commands(text, data_dir, tmp_path, monkeypatch):
    """Every command that needs no network, in order and in one folder, with --smoke."""
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
