"""README and docs hold what they say. How a block of code is held to it, its language says:

bash      every `python` command runs, with --smoke, in order and in one folder of the page with the files of `given`
sh        every `python` command is read by its own parser and does nothing: it takes long, or needs what is not here
python    runs, after the blocks before it on the page, and prints what its comments say; what an experiment has word by
          word is shown, and what has a `__main__` is the file that the text before it names
py, text  of other libraries, or nothing to run
"""

import argparse
import ast
import dataclasses
import importlib.util
import json
import os
import re
import runpy
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import tyro
from PIL import Image

from research import data, launch, models, tasks, weights
from research.cli import generating, planning, runs
from research.cli.studies import flags, power, reporting, verifying
from research.data import Data
from research.devices import Processes
from research.experiment import Experiment, Placement, RunOptions
from research.generation import Options, __main__
from research.optimization import Optimizer
from tests.families import FAMILIES, WHOLE
from tests.training import forking

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]
LANGUAGES = {"bash", "sh", "python", "py", "text", "{toctree}", "{include}", "{eval-rst}"}
MODULES = {path.stem: path.read_text() for path in sorted((ROOT / "experiments").glob("*.py"))}
COMMENT = re.compile(r"^\s*print\(.+\)  # (.+)$", flags=re.MULTILINE)
OPENED = {"Images", "Sequences", "Series", "Table", "Text"}

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def prose(page):
    """Return a page without its blocks of code."""
    return re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def lines(page, language):
    """Return the command lines of a page; one that ends in a backslash continues in the next."""
    text = "".join(blocks(page, language)).replace("\\\n", " ")
    return [line.strip() for line in text.splitlines() if "python" in shlex.split(line, comments=True)]


def typed(line):
    """Return module or file and words of a command line, without what starts it, such as srun."""
    words = shlex.split(line, comments=True)
    words = words[words.index("python") + 1 :]
    return words[1:] if words[0] == "-m" else words


def first(page):
    """Return the commands that run on a page and on none before it."""
    before = [typed(line) for other in PAGES[: PAGES.index(page)] for line in lines(other, "bash")]
    return [line for line in lines(page, "bash") if typed(line) not in before]


@pytest.fixture
def given(tmp_path, monkeypatch, data_dir):
    """A folder, and the current one, with the files that a reader brings."""
    monkeypatch.setenv("TFDS_DATA_DIR", data_dir)
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(0)
    for name in ("cat", "dog", "horse"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for index in range(20):
            pixels = generator.integers(0, 256, (40, 36, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{index}.png")
    (tmp_path / "notes").mkdir()
    for index in range(12):
        words = generator.choice(["all", "else", "equal", "but", "one"], 400)
        (tmp_path / "notes" / f"{index}.md").write_text(" ".join(words))
    reviews = [
        json.dumps({"stars": index % 5, "review": " ".join(["All", "else", str(index)] * 40)}) for index in range(30)
    ]
    (tmp_path / "reviews.jsonl").write_text("\n".join(reviews))
    levels = 2 + np.sin(np.arange(400) / 6) + generator.normal(scale=0.1, size=400)
    (tmp_path / "river.csv").write_text("\n".join(["time,level", *(f"{t},{level}" for t, level in enumerate(levels))]))
    rows = generator.normal(size=(120, 4))
    table = [",".join(map(str, row)) for row in rows]
    (tmp_path / "houses.csv").write_text("\n".join(["rooms,age,garden,price", *table]))
    species = [f"{row},{index % 3}" for index, row in enumerate(table)]
    (tmp_path / "flowers.csv").write_text("\n".join(["a,b,c,d,species", *species]))
    features = generator.normal(size=(80, 20, 6)).astype(np.float32)
    np.savez(tmp_path / "gestures.npz", features=features, label=np.arange(80) % 4)
    for block in blocks(README, "python"):
        if "__main__" in block:
            before = README.read_text().partition(f"```python\n{block}")[0]
            (tmp_path / re.findall(r"`(\w+\.py)`", before)[-1]).write_text(block)
    return tmp_path


@pytest.mark.parametrize("page", [page for page in PAGES if first(page)], ids=lambda page: page.stem)
def test_commands_run(page, given, data_dir):
    """Each that needs no network, in order; a comment may say with what it exits.

    The first is a process of its own, as a reader starts it, as are one that starts others and one of a file; the rest
    is forked.
    """
    environment = {"TFDS_DATA_DIR": data_dir, "PYTHONPATH": str(ROOT)}
    for index, line in enumerate(first(page)):
        errors = given.with_name(f"{given.name} errors of command {index}")
        module, *words = typed(line)
        words = words if {"--smoke", "--help"} & set(words) else [*words, "--smoke"]
        (code,) = map(int, re.findall(r"# .*exits with (\d+)", line) or [0])
        starts_others = "ablate" in words and "--dry_run" not in words
        if (page, index) == (README, 0) or starts_others or module.endswith(".py"):
            begin = [module] if module.endswith(".py") else ["-m", module]
            done = subprocess.run(
                [sys.executable, *begin, *words], capture_output=True, text=True, env={**os.environ, **environment}
            )
            assert (done.returncode, done.stderr) == (code, ""), line
        else:
            call = forking.call(forking.typed, module, words, str(given), environment, str(errors))
            ended = forking.finish(*call)
            said = errors.read_text()
            assert ended.code == code and (said == "" or code), (line, ended.text, said)


class Parsed(Exception):
    """A command line was read without a fault."""


@pytest.fixture
def parse(monkeypatch, capsys, tmp_path):
    """Reads a command line with the parser of its module, which then does nothing; raises what is wrong with it."""

    monkeypatch.chdir(tmp_path)
    (tmp_path / "resnet.safetensors").write_bytes((8).to_bytes(8, "little") + b"{}      ")  # its digest is a default

    def stopped(parser):
        def read(*arguments, **options):
            parser(*arguments, **options)
            raise Parsed

        return read

    monkeypatch.setattr(tyro, "cli", stopped(tyro.cli))
    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", stopped(argparse.ArgumentParser.parse_args))

    def run(module, words):
        if module.endswith(".py"):
            assert (ROOT / module).exists() and not words
        elif not words and not module.startswith("experiments."):
            assert importlib.util.find_spec(module) is not None, module
        elif module.startswith("benchmarks."):  # whose peers may not be installed
            source = Path(importlib.util.find_spec(module).origin).read_text()
            for word in words:
                assert not word.startswith("--") or f'"{word}"' in source, (module, word)
        else:
            monkeypatch.setattr(sys, "argv", [module, *words])
            for name in (module, f"{module}.__main__"):
                monkeypatch.delitem(sys.modules, name, raising=False)  # or runpy warns of an earlier import
            try:
                with pytest.raises(Parsed):
                    runpy.run_module(module, run_name="__main__", alter_sys=True)
            except SystemExit:
                raise AssertionError((module, words, capsys.readouterr())) from None
            if module == "research.launch":
                inner, *rest = typed(shlex.join(words[words.index("--") + 1 :]))
                run(inner, rest)

    return run


def test_commands_that_do_not_run_here_are_read_by_their_parsers(parse):
    """Those of `sh`, and those within sentences."""
    inline = [found for page in PAGES for found in re.findall(r"`(python (?:-m|colab)[^`]+)`", prose(page))]
    for line in dict.fromkeys([*(line for page in PAGES for line in lines(page, "sh")), *inline]):
        if "NAME" not in line:
            module, *words = typed(line)
            parse(module, words)


def test_flags_in_sentences_are_known():
    """Each in a code span that begins with one, whatever its command and its experiment."""

    def fields(*holders):
        return {field.name for holder in holders for field in dataclasses.fields(holder)}

    studies = (flags.Ablate, reporting.Report, power.Power, verifying.Verify)
    others = (planning.Plan, launch.Launch, weights.Export, weights.Import)
    writing = (generating.Generate, Options, __main__.GenerateFromFolder)
    known = fields(runs.Train, runs.Predict, runs.Rollback, *writing, *studies, *others, Experiment, RunOptions) | {
        "help",
        "help_all",
    }
    for path, within in (("model", models), ("data", data), ("task", tasks)):
        holders = [value for value in vars(within).values() if dataclasses.is_dataclass(value)]
        known |= {f"{path}.{name}" for name in fields(*holders)}
    for path, holder in (("optimizer", Optimizer), ("placement", Placement), ("processes", Processes)):
        known |= {f"{path}.{name}" for name in fields(holder)}
    for page in PAGES:
        for span in re.findall(r"`(--[a-z][^`]*)`", prose(page)):
            for name in re.findall(r"--([\w.]+)", span):
                assert name.removeprefix("no_") in known or name == "model.dropuot", (page.name, name)


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=lambda page: page.stem)
def test_python(page, given, monkeypatch, capsys):
    """What an experiment has is shown as it is there; the rest runs as one script, and values of data are opened."""
    shown = [block for block in blocks(page, "python") if any(block in source for source in MODULES.values())]
    source = "\n".join(block for block in blocks(page, "python") if block not in shown and "__main__" not in block)
    path = given / f"page_{page.stem}.py"
    path.write_text(source)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, path.stem, module)
    spec.loader.exec_module(module)
    printed = capsys.readouterr().out.splitlines()
    assert set(COMMENT.findall(source)) <= set(printed), printed
    for node in ast.parse(source).body:
        if isinstance(node, ast.Expr) and ast.unparse(node.value.func) in OPENED:
            value = eval(ast.unparse(node), vars(module))
            assert isinstance(value, Data) and len(value.open("train"))


def test_the_values_shown_are_the_values():
    for page, begins, count in ((README, "experiment = Experiment(", 1), (ROOT / "docs/studies.md", "studies = {", 1)):
        shown = [block for block in blocks(page, "python") if block.startswith(begins)]
        assert len(shown) == count and all(block in MODULES["digits_cnn"] for block in shown)


def test_a_page_to_read_in_ten_minutes():
    text = README.read_text()
    assert len(text.splitlines()) <= 150 and len(text.split()) <= 1500


def test_every_page_is_reached_from_the_index():
    index = (ROOT / "docs/index.md").read_text()
    trees = "\n".join(re.findall(r"^```{toctree}\n(.*?)^```$", index, flags=re.MULTILINE | re.DOTALL))
    named = re.findall(r"^(?:[^:\n<]*<)?(\w+)>?$", trees, flags=re.MULTILINE)
    assert sorted(named) == sorted(page.stem for page in PAGES[1:] if page.stem != "index")


@every_page
def test_blocks_are_in_known_languages(page):
    assert set(re.findall(r"^```(\S+)$", page.read_text(), flags=re.MULTILINE)) <= LANGUAGES


def anchors(page):
    """Return what a link can lead to within a page, as GitHub names it."""
    headings = re.findall(r"^#+ (.*)$", prose(page), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@every_page
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`\n]*`", "", prose(page))):
        target, _, anchor = link.partition("#")
        if not target.startswith("https://"):
            path = page.parent / target if target else page
            assert path.exists(), link
            assert not anchor or anchor in anchors(path), link


def test_make_targets_and_extras_exist():
    makefile = (ROOT / "Makefile").read_text()
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for page in PAGES:
        for target in re.findall(r"(?:`|^)make ([a-z-]+)", page.read_text(), flags=re.MULTILINE):
            assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target
        for extra in re.findall(r'(?:extra `|"\.\[)([a-z0-9-]+)', page.read_text()):
            assert extra in extras, (page.name, extra)


def test_citation_is_of_this_version():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    held = dict(re.findall(r"^([a-z-]+): (.+)$", (ROOT / "CITATION.cff").read_text(), flags=re.MULTILINE))
    assert (held["version"], held["license"]) == (project["version"], project["license"])
    assert held["repository-code"] == project["urls"]["Repository"]


def faults(*nodes):
    """Return the faults that marks in a piece of source are about."""
    calls = [call for node in nodes for call in ast.walk(node) if isinstance(call, ast.Call)]
    marks = [call for call in calls if ast.unparse(call.func) == "pytest.mark.fault"]
    return [ast.literal_eval(number) for mark in marks for number in mark.args]


def test_every_fault_has_a_row_whose_test_is_marked_with_it():
    """And none of them is expected to fail."""
    text = (ROOT / "docs/faults.md").read_text()
    marked = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        source = ast.parse(path.read_text())
        assert "xfail" not in {node.attr for node in ast.walk(source) if isinstance(node, ast.Attribute)}
        assigned = [each for each in source.body if isinstance(each, ast.Assign)]
        of_all = faults(*(each for each in assigned if ast.unparse(each.targets[0]) == "pytestmark"))
        functions = [each for each in ast.walk(source) if isinstance(each, ast.FunctionDef)]
        for function in functions:
            marked |= {(number, function.name) for number in [*of_all, *faults(*function.decorator_list)]}
            marked |= {(number, f"{path.name}::{function.name}") for number in faults(*function.decorator_list)}
    rows = re.findall(r"^\| (F\d+) \|.*\| `([\w.:]+)` \|$", text, flags=re.MULTILINE)
    assert [number for number, _ in rows] == [f"F{number}" for number in range(1, 57)]
    assert set(rows) <= marked
    assert f"each of {len(FAMILIES)} families" in text and f"{len(WHOLE)} that have each kind" in text
