"""A folder that has a `research` of its own, which Python takes for ours where a command is typed in it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# As `python -m experiments` finds packages where the project is installed, and not as an editable one, whose finder
# looks for submodules of ours within any package of that name.
TYPED = """
import runpy, sys
sys.meta_path = [finder for finder in sys.meta_path if "editable" not in getattr(finder, "__module__", "")]
sys.argv = {argv}
runpy.run_module("experiments", run_name="__main__")
"""


def typed(folder, argv):
    """Type it in a folder; returns exit code, the first line of the output, and the errors."""
    done = subprocess.run(
        [sys.executable, "-c", TYPED.format(argv=argv)],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    return done.returncode, done.stdout.partition("\n")[0], done.stderr


@pytest.mark.fault("F54")
@pytest.mark.parametrize("name", ["research/__init__.py", "research.py"])
def test_it_is_named_in_one_sentence(name, tmp_path):
    file = tmp_path / name
    file.parent.mkdir(exist_ok=True)
    file.touch()
    code, out, err = typed(tmp_path, ["-m"])
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert f'"research" is {file} here, not {ROOT / "research"}: work in another folder, or type python -P' in err
    code, _, err = typed(tmp_path, ["a_script.py"])
    assert code == 1 and err.splitlines()[-1].startswith(f'ImportError: "research" is {file} here')


def test_a_folder_that_is_no_package_hides_nothing(tmp_path):
    (tmp_path / "research").mkdir()
    code, out, err = typed(tmp_path, ["-m"])
    assert (code, err) == (0, "") and out.startswith("experiment ")
