"""SECURITY.md promises what tests show."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "SECURITY.md").read_text()


def test_every_test_that_is_named_is_there():
    named = set(re.findall(r"`(test_\w+)`", TEXT))
    texts = (path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    there = {name for text in texts for name in re.findall(r"^def (test_\w+)\(", text, re.M)}
    assert len(named) > 15 and named <= there, named - there


def test_every_promise_has_a_test():
    table = TEXT.split("## What is not trusted")[1].split("## ")[0]
    rows = [line.split(" | ") for line in table.splitlines() if line.startswith("| ")][2:]
    assert len(rows) > 8 and all("`test_" in row[-1] for row in rows)


def test_files_commands_and_addresses_are_those_of_the_project():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(re.findall(r"https?://[^\s>]+", TEXT)) == {f"{project['urls']['Repository']}/security/advisories/new"}
    assert "\naudit: " in (ROOT / "Makefile").read_text() and (ROOT / "requirements.lock").exists()
    locked = re.findall(r"^\w[^\n]* \\\n((?: +[^\n]*\n)+)", (ROOT / "requirements.lock").read_text(), re.M)
    assert len(locked) > 100 and all("--hash=sha256:" in hashes for hashes in locked)
