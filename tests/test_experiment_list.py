"""`python -m experiments`: what each experiment claims, costs and gave, at any width and at once."""

import re
import runpy
import sys

import pytest

from experiments.__main__ import listed
from tests.test_experiments import NAMES, command


@pytest.fixture
def typed(monkeypatch, capsys):
    """Types the command in this process; returns its exit code, output and errors."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["", *words])
        with pytest.raises(SystemExit) as left:
            runpy.run_module("experiments.__main__", run_name="__main__")
        return left.value.code, *capsys.readouterr()

    return run


@pytest.mark.filterwarnings("ignore:.*found in sys.modules")
def test_every_experiment_has_a_row(typed):
    code, out, err = typed()
    assert (code, err) == (0, "")
    assert [re.match(r"\w*", line)[0] for line in out.splitlines() if line[:1].strip()][1:-1] == sorted(NAMES)
    assert "Given 33 years" in out and "4 s of" in out and "test mean absolute error" in out


@pytest.mark.filterwarnings("ignore:.*found in sys.modules")
def test_a_word_is_taken_for_the_experiment_that_was_meant(typed):
    code, out, err = typed("digits_cnn", "--smoke")
    assert (code, out) == (2, "") and err.endswith(" python -m experiments.digits_cnn\n")


def test_a_module_of_ones_own_needs_no_such_docstring(tmp_path):
    (tmp_path / "mine.py").write_text('"""Mine.\n\nCost     nothing\n         at all\nMore.\n"""\n')
    (tmp_path / "bare.py").write_text("")
    (tmp_path / "__main__.py").write_text("")
    assert listed(tmp_path) == {"bare": {"Claim": ""}, "mine": {"Claim": "Mine.", "Cost": "nothing at all"}}


def test_nothing_heavy_is_imported_for_it():
    code = "import runpy, sys; sys.argv[1:] = []; runpy.run_module('experiments', run_name='__main__')"
    ends = f"try:\n    {code}\nexcept SystemExit:\n    print({{'jax', 'numpy', 'research.cli'}} & set(sys.modules))"
    done = command("-W", "error", "-c", f"import sys\n{ends}")
    assert done.stdout.splitlines()[-1] == "set()", done.stderr
