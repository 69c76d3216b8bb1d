"""Installed as a wheel, away from the repository, it is the same."""

import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_wheel_runs_elsewhere(data_dir, tmp_path):
    source = tmp_path / "source"
    for name in ("research", "experiments"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(source)]
    built = subprocess.run(build, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    (wheel,) = tmp_path.glob("ceteris_research-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    assert {path.name for path in (tmp_path / "site").iterdir() if path.suffix != ".dist-info"} == {
        "research",
        "experiments",
    }
    packaged = {path.relative_to(tmp_path / "site") for path in (tmp_path / "site" / "research").rglob("*.*")}
    assert packaged == {path.relative_to(source) for path in (source / "research").rglob("*.*")}, "templates among them"
    elsewhere = tmp_path / "a folder"
    elsewhere.mkdir()
    run = subprocess.run(
        [sys.executable, "-P", "-m", "experiments.digits_cnn", "--smoke", "--data_dir", data_dir],
        capture_output=True,
        text=True,
        cwd=elsewhere,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "site")},
    )
    assert (run.returncode, run.stderr) == (0, "")
    code = "from research import runtime; print(*runtime.requirements(['dates']), sep='\\n')"
    asked = subprocess.run(
        [sys.executable, "-P", "-c", code],
        capture_output=True,
        text=True,
        cwd=elsewhere,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "site")},
    )
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    required = [*project["dependencies"], *project["optional-dependencies"]["dates"]]
    assert set(map(Requirement, asked.stdout.splitlines())) == set(map(Requirement, required))
    (result,) = elsewhere.glob("runs/digits_cnn/*-seed0/result.json")
    assert '"commit": null' in result.read_text()
