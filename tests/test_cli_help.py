"""Help in two screens: the flags of the command first, then those of the value, a line each."""

import dataclasses
import re

import pytest

from experiments.bert_docstrings import experiment, smoke
from research.cli import main
from research.cli.help import documented, groups
from research.cli.main import COMMANDS
from research.cli.studies.flags import Ablate
from research.fields import Rate
from research.models import CNN


@pytest.fixture
def run(capsys, monkeypatch):
    """Types a command line on a terminal of some width; returns what it prints."""

    def run(width, *words):
        monkeypatch.setenv("COLUMNS", str(width))
        with pytest.raises(SystemExit) as left:
            main(experiment, smoke=smoke, file="bert.py", doc="Bert.\n\nClaim    None.", arguments=list(words))
        out, err = capsys.readouterr()
        assert (left.value.code, err) == (0, "")
        return out

    return run


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_of_two_screens(command, run):
    out = run(120, command, "--help")
    assert len(out.splitlines()) <= 100 and max(map(len, out.splitlines())) <= 120
    assert f"bert {command} [FLAGS]\n\nBert.\n\nClaim    None.\n" in out and "  --smoke " in out
    assert re.search(r"--help_all shows all \d+ flags, and what each takes\.$", out)


def test_what_does_not_fit_is_named_and_counted(run):
    out = run(120, "ablate", "-h")
    assert all(f"  --{field.name} " in out for field in dataclasses.fields(Ablate)[2:])
    assert re.search(r"^start\.0\.experiment: \d+ flags, ", out, flags=re.MULTILINE) and "--start.0.exp" not in out
    assert re.search(r"^run: \d+ flags, --data_dir, --residency,", out, flags=re.MULTILINE)


def test_lines_of_flags_are_as_wide_as_the_terminal(run):
    lines = [line for line in run(70, "--help").splitlines() if line.startswith("  --")]
    assert max(map(len, lines)) == 70 and any(line.endswith(" ...") for line in lines)


def test_all_of_it_has_ranges_and_choices(run):
    assert "{auto,bar,lines,none}" in run(200, "--help_all") == run(200, "train", "--help-all")


@dataclasses.dataclass(frozen=True)
class Small:
    """A value of two fields."""

    share: Rate = 1 / 3  # said beside it
    words: tuple[str, ...] = ("a", "b")
    """Said
    below it."""


def test_a_flag_has_the_default_and_the_words_of_its_field():
    ((path, title, flags),) = groups(Small(), "small")
    assert (path, title) == ("", "small")
    assert flags == (("--share", "0.333333", "said beside it"), ("--words", "a b", "Said below it."))
    assert documented(CNN)["dropout"] == "Share of the hidden dense activations that is dropped in training."
