"""Commands whose output is in another encoding, or can no longer be written: the same files and exit codes."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from research import streams
from research.ablation import Study, one_at_a_time
from research.ablation.store.study_folder import Store
from research.cli import main
from research.generation import __main__
from tests.ablation.store.trials import finish

STUDY = Study(one_at_a_time({"model.dropout": (0.0, 0.1)}), seeds=3)


@pytest.fixture
def study(experiment, tmp_path):
    """The folder of a finished study, one of whose trials diverged."""
    store = Store.open(tmp_path / "study", experiment, STUDY)
    for trial in store.final_trials():
        lost = trial.cell.index == 2 and trial.seed == 2
        finish(store, trial, accuracy=0.5 + trial.seed / 100, loss=float("nan") if lost else 1.0)
    return store.root


@pytest.fixture
def run(experiment, monkeypatch):
    """Run a command with standard output being a stream; return its code."""

    def run(stream, *words):
        monkeypatch.setattr(sys, "stdout", stream)
        with pytest.raises(SystemExit) as ended:
            main(experiment, smoke={}, studies={"s": STUDY}, file="tiny.py", doc="Tiny.", arguments=list(words))
        return ended.value.code

    return run


class Failing(io.TextIOWrapper):
    """A stream to which nothing can be written."""

    def __init__(self, error):
        super().__init__(io.BytesIO(), "utf-8")
        self.error = error

    def write(self, text):
        if text:
            raise self.error
        return 0


@pytest.mark.fault("F53")
@pytest.mark.fault("F31")
@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_an_encoding_that_lacks_our_signs_changes_no_exit_code(encoding, run, study, data_dir):
    for words, code in (
        (("report", "--workdir", str(study)), 0),
        (("ablate", "--workdir", str(study), "--data_dir", data_dir), 1),  # one trial diverged
        (("describe",), 0),
    ):
        output = io.BytesIO()
        assert run(io.TextIOWrapper(output, encoding, write_through=True), *words) == code
        shown = output.getvalue().decode(encoding).replace("±", "+-")
        assert shown and "\\u" not in shown
        if words[0] != "describe":
            assert "delta" in shown and "0.510 +- 0.025" in shown


def test_a_name_that_an_encoding_lacks_is_escaped():
    streams.open_streams()
    assert "Δ −1 ± 2 汉字 é".encode("ascii", "ceteris") == rb"delta -1 +- 2 \u6c49\u5b57 \xe9"


@pytest.mark.fault("F31")
@pytest.mark.parametrize(
    ("error", "said", "codes"),
    [
        (BrokenPipeError(32, "Broken pipe"), "", (0, 1)),
        (OSError(28, "No space left on device"), "error: standard output failed: No space left on device", (1, 1)),
    ],
)
def test_output_that_fails_ends_in_the_code_of_what_was_done(
    error, said, codes, run, study, data_dir, capfd, monkeypatch
):
    assert run(Failing(error), "report", "--workdir", str(study)) == codes[0]
    assert (study / "report.html").exists()
    reported = capfd.readouterr().err
    assert reported.startswith(said) and reported.count("\n") == bool(said)
    assert run(Failing(error), "ablate", "--workdir", str(study), "--data_dir", data_dir) == codes[1]
    assert "1 of 9 trials failed or diverged" in capfd.readouterr().err
    monkeypatch.setattr(sys, "stdout", Failing(error))
    assert __main__.main(["--help"]) == codes[0]
    assert capfd.readouterr().err.startswith(said)


@pytest.mark.fault("F31")
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is always full")
def test_a_full_device_is_one_sentence(tmp_path):
    """Python tries to write again as it exits, and would say so and exit with 120."""
    words = [sys.executable, "-m", "experiments.digits_cnn", "describe"]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    with open("/dev/full", "w") as full:
        done = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, env=environment, text=True)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1) and "No space left on device" in done.stderr
