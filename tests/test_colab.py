"""Notebooks equal their sources, and run as on Colab: alone in a folder, from the cell that fetches the project on."""

import asyncio
import json
import math
import os
import re
import shutil
import subprocess
import sys
import tomllib
import types
import zipfile
from pathlib import Path

import jax
import nbformat
import pytest
from nbclient import NotebookClient

from colab.convert import SOURCES, notebook
from research import runtime

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
REPOSITORY = PROJECT["urls"]["Repository"]


def test_there_are_notebooks():
    assert {path.stem for path in SOURCES} == {"ablation", "language", "probe", "quickstart", "tpu"}


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_a_notebook_is_its_source(source):
    assert source.with_suffix(".ipynb").read_text() == notebook(source), "run `python colab/convert.py`"


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_a_notebook_names_itself_and_the_repository(source):
    """On Colab it arrives alone, so it cannot ask pyproject.toml."""
    text = source.read_text()
    name = REPOSITORY.removeprefix("https://github.com/")
    (badge,) = re.findall(r"\(https://colab\.research\.google\.com/github/(.*)\)", text)
    assert badge == f"{name}/blob/main/colab/{source.stem}.ipynb"
    assert re.findall(r"https://github\.com/[\w./-]+", text) == [REPOSITORY]


# --- The first cell ---------------------------------------------------------------------------------------------------


def beginning(source):
    """Return the cell that finds the project, up to where it calls it."""
    cell = source.read_text().partition("# %%\n")[2].partition("\n# %%")[0]
    return cell.partition("from research.runtime import ")[0]


def test_all_notebooks_begin_with_the_same():
    (first,) = {beginning(source) for source in SOURCES}
    assert f'REPOSITORY = "{REPOSITORY}"' in first


@pytest.mark.parametrize(
    "place", ["a clone", "a copy beside it", "a wheel beside it", "installed", "its repository", "nowhere"]
)
def test_the_project_is_found_where_the_reader_has_it(place, tmp_path):
    """With an empty one in its place, in a Python that has no other; from nowhere it cannot be fetched either."""
    (tmp_path / "site").mkdir()
    repository = tmp_path / "repository"
    here = tmp_path / "clone" / "colab"
    here.mkdir(parents=True)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"PIP_NO_INDEX": "1", "PIP_TARGET": str(tmp_path / "site"), "PYTHONPATH": str(tmp_path / "site")}
    environment |= {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": f"url.{repository.as_uri()}.insteadOf"}
    environment |= {"GIT_CONFIG_VALUE_0": REPOSITORY, "GIT_CONFIG_GLOBAL": os.devnull}
    roots = {
        "a clone": here.parent,
        "a copy beside it": here / "ceteris-main",
        "installed": tmp_path / "site",
        "its repository": repository,
    }
    if place in roots:
        (roots[place] / "research").mkdir(parents=True)
        (roots[place] / "research" / "runtime.py").write_text("")
    elif place == "a wheel beside it":
        wheel(here, "ceteris_research", "1.0", content={"research/runtime.py": ""})
    if place == "its repository":
        author = [word for key in ("name", "email") for word in ("-c", f"user.{key}=somebody")]
        for command in (["init", "--quiet"], ["add", "."], [*author, "commit", "--quiet", "--message", "all"]):
            subprocess.run(["git", *command], cwd=repository, check=True, env=environment)
        roots[place] = here / "ceteris"
    code = beginning(SOURCES[0]) + "import research.runtime\nprint(research.runtime.__file__)"
    done = subprocess.run([sys.executable, "-S", "-c", code], cwd=here, env=environment, capture_output=True, text=True)
    if place == "nowhere":
        assert f"RuntimeError: {REPOSITORY} cannot be cloned: set REPOSITORY above to where it can be" in done.stderr
        return
    root = roots.get(place, tmp_path / "site")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{root}/research/runtime.py\n", "")


def test_what_is_missing():
    required = ["jax>=5,<6", "there>=2,<3", "Too.Old>=2", "absent", "elsewhere; python_version < '3'"]
    assert runtime.missing(required, {"jax": "4.9", "there": "2.7", "too-old": "1.9"}) == ["Too.Old>=2", "absent"]
    assert runtime.missing(["jax>=5,<6"], {}) == ["jax>=5,<6"]


def wheel(folder, name, version, requires="", content=()):
    """Write a package that holds little or nothing."""
    info = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        archive.writestr(f"{info}/METADATA", metadata + (f"Requires-Dist: {requires}\n" if requires else ""))
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
        for path, text in dict(content).items():
            archive.writestr(path, text)


@pytest.fixture
def index(tmp_path, monkeypatch):
    """Has pip see a folder of packages and nothing else, upgrade what it can, and only say what it would install."""
    for option, value in {
        "CONFIG_FILE": os.devnull,
        "DRY_RUN": "1",
        "FIND_LINKS": tmp_path,
        "NO_INDEX": "1",
        "REPORT": tmp_path / "report.json",
        "UPGRADE": "1",
        "UPGRADE_STRATEGY": "eager",
    }.items():
        monkeypatch.setenv(f"PIP_{option}", str(value))
    return tmp_path


def test_the_runtimes_jax_is_kept(index):
    """pip would take the newer one, were it not held."""
    wheel(index, "jax", "99.0")
    wheel(index, "wants_jax", "1.0", "jax>=0.1")
    runtime.install(["wants_jax"], runtime.versions())
    would = json.loads((index / "report.json").read_text())["install"]
    assert [item["metadata"]["name"] for item in would] == ["wants_jax"]


def test_what_does_not_fit_the_runtimes_jax(index):
    wheel(index, "jax", "99.0")
    wheel(index, "wants_newer_jax", "1.0", "jax>=99")
    with pytest.raises(RuntimeError, match=rf"beside jax {re.escape(jax.__version__)}, which is kept") as raised:
        runtime.install(["wants_newer_jax"], runtime.versions())
    assert "wants-newer-jax" in str(raised.value)


def test_another_jax_than_tested(capsys):
    """It is named, and the bounds of other packages, which were chosen for the tested one, are given up."""
    assert runtime.check_jax(["flax>=1", "jax>=5,<6"], {"jax": "5.9"}) and runtime.check_jax(["jax>=5"], {})
    assert capsys.readouterr().out == ""
    assert not runtime.check_jax(["flax>=1", "jax>=5,<6"], {"jax": "6.0"})
    assert capsys.readouterr().out.startswith("This runtime has jax 6.0, and Ceteris is tested with <6,>=5. It is kept")
    assert runtime.unbounded(["flax>=1,<2", "Orbax.Checkpoint>=1; python_version > '3'"]) == [
        "flax",
        "Orbax.Checkpoint",
    ]


def test_what_was_replaced_after_its_import():
    before = {"numpy": "1.0", "never-imported": "1.0"}
    runtime.check_fresh(before, {"numpy": "1.0", "never-imported": "2.0", "new": "1.0"})
    with pytest.raises(RuntimeError, match="^restart the session, then run this cell again: numpy had"):
        runtime.check_fresh(before, {"numpy": "2.0", "never-imported": "2.0"})


def test_drive_is_mounted_when_asked(monkeypatch):
    assert runtime.runs_folder() == Path("runs")
    with pytest.raises(RuntimeError, match="Colab alone"):
        runtime.runs_folder(on_drive=True)
    mounted = []
    colab = types.SimpleNamespace(drive=types.SimpleNamespace(mount=mounted.append))
    monkeypatch.setitem(sys.modules, "google.colab", colab)
    assert runtime.runs_folder(on_drive=True) == Path("/content/drive/MyDrive/ceteris/runs")
    assert mounted == ["/content/drive"]


# --- Whole notebooks --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """The project as it is now, without its history."""
    root = tmp_path_factory.mktemp("copy")
    for name in ("research", "experiments"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__", "runs"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, root / name)
    return root


SHRINK = """
import importlib, pkgutil
import experiments
from research.experiment import replace

for item in pkgutil.iter_modules(experiments.__path__):
    if not (item.ispkg or item.name == "__main__"):
        module = importlib.import_module(f"experiments.{item.name}")
        module.experiment = replace(module.experiment, module.smoke)
"""


@pytest.fixture
def executed(copy, data_dir, programs, tmp_path, monkeypatch):
    """Runs a notebook with a copy of the project beside it, every experiment its small variant, without network.

    With a copy of the suite's programs, as JAX warns of one that another process is just writing, and a notebook would
    show that.
    """
    for name, value in {
        "IPYTHONDIR": tmp_path / "ipython",
        "JUPYTER_DATA_DIR": tmp_path / "jupyter",
        "JUPYTER_RUNTIME_DIR": tmp_path / "jupyter" / "runtime",
        "PIP_NO_INDEX": "1",
        "TFDS_DATA_DIR": data_dir,
    }.items():
        monkeypatch.setenv(name, str(value))
    for name in ("JUPYTER_PATH", "PYTHONPATH", "PYTHONWARNINGS"):
        monkeypatch.delenv(name, raising=False)

    def run(name, devices, less=()):
        """`less` says what a test has less of than a reader: pairs of what the notebook says and what runs instead."""
        if devices > 1:
            monkeypatch.setenv("XLA_FLAGS", f"--xla_force_host_platform_device_count={devices}", prepend=" ")
        folder = tmp_path / "a folder"
        folder.mkdir()
        (folder / "ceteris").symlink_to(copy, target_is_directory=True)
        read = nbformat.read(ROOT / "colab" / f"{name}.ipynb", as_version=4)
        for said, instead in less:
            cell = only(cell for cell in read.cells if said in cell.source)
            cell.source = cell.source.replace(said, instead)
        first = next(index for index, cell in enumerate(read.cells) if cell.cell_type == "code")
        read.cells.insert(first + 1, nbformat.v4.new_code_cell(SHRINK))
        resources = {"metadata": {"path": str(folder)}}
        asyncio.run(NotebookClient(read, timeout=300, kernel_name="python3", resources=resources).async_execute())
        return Executed(read, folder)

    return run


class Executed:
    """A notebook after its run."""

    def __init__(self, read, folder):
        self.folder = folder
        self.outputs = [output for cell in read.cells for output in cell.get("outputs", [])]
        self.warned = [item.text for item in self.outputs if item.get("name") == "stderr"]
        self.text = "".join(item.text for item in self.outputs if item.get("name") == "stdout")

    def shown(self, kind):
        """Return what was displayed as `kind`, such as image/png."""
        return [item.data[kind] for item in self.outputs if "data" in item and kind in item.data]


def lines(folder, split):
    """Return the reports of a run on a split."""
    read = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [line for line in read if line["split"] == split]


def only(several):
    (found,) = several
    return found


@pytest.mark.slow
def test_quickstart(executed):
    found = executed("quickstart", devices=1)
    assert found.warned == []
    assert found.text.splitlines()[1] == "1 x CPU"
    first, second = found.folder.glob("runs/digits_cnn/*/result.json")
    for result in map(json.loads, (first.read_text(), second.read_text())):
        assert f"test accuracy {result['metrics']['test']['accuracy']:.4f}\n" in found.text
    assert len(found.shown("image/png")) == 3  # curves, augmentation, the images that it is least sure of
    predictions = only(found.folder.glob("runs/digits_cnn/*/predictions.csv"))
    assert len(predictions.read_text().splitlines()) == 1 + 539
    assert 'there is no "model.dropuot"; did you mean "model.dropout"' in found.text
    assert "['model.dropout']\n" in found.text


@pytest.mark.slow
def test_ablation(executed):
    """24 trials of six variants, sharded over four devices, in one session as a reader runs them: twenty seconds."""
    found = executed("ablation", devices=4, less=[("seeds=8", "seeds=4"), ("(0.0, 0.5)", "(0.5,)")])
    assert found.warned == []
    assert "shard {'trial': 4}\n" in found.text and "24 trials: 24 done\n" in found.text
    placements = list(found.folder.glob("runs/digits_mlp/ablation/groups/*/execution.json"))
    assert {json.loads(path.read_text())["mode"] for path in placements} == {"shard"}
    report, page = found.shown("text/html")
    rows = re.findall(r"<th[^>]*>([^<]*)</th><td>4</td><td>0\.\d+ ± 0\.\d+</td>", report)
    assert rows == [
        "baseline",
        "dropout 0.5",
        "activation tanh",
        "learning_rate 0.0005",
        "learning_rate 0.008",
        "shift 0",
    ]
    assert page.startswith("<div><iframe srcdoc=") and "All cells" in page
    assert len(found.shown("image/png")) == 1


@pytest.mark.slow
@pytest.mark.parametrize("devices", [1, 4])
def test_tpu(executed, devices):
    """Five runs of a small GPT under three placements, and a plan in a process of its own: twenty seconds."""
    found = executed("tpu", devices, less=[('"steps": 100', '"steps": 20'), ('"64")', '"64", "--smoke")')])
    assert found.warned == []
    assert f"{devices} x CPU\n" in found.text
    runs = found.folder / "runs" / "text_transformer"
    losses = {}
    for name in ("jit", "pmap", "fsdp"):
        losses[name] = [line["loss"] for line in lines(runs / f"{name}-on-{devices}", "train")]
        assert re.search(rf"^ *{name}  test loss \d\.\d{{6}}  \d+\.\d steps/s$", found.text, flags=re.MULTILINE)
        assert len(losses[name]) == 2 and losses[name] == pytest.approx(losses["jit"], abs=1e-3)
        assert losses[name][-1] < losses[name][0]
    (interrupted,) = re.findall(r"stopped at step (\d+) of 20", found.text)
    assert interrupted == "10"
    assert (runs / "resumed" / "metrics.jsonl").read_bytes() == (runs / f"jit-on-{devices}/metrics.jsonl").read_bytes()
    assert len(found.shown("image/png")) == 1


@pytest.mark.slow
def test_probe(executed):
    """It trains a CNN and a Transformer that writes dates, in one session as a reader does: twenty seconds."""
    found = executed("probe", devices=1)
    assert found.warned == []
    assert "'block_0_output': (1, 4, 4, 4)" in found.text
    assert any("treescope" in page for page in found.shown("text/html"))
    assert len(found.shown("image/png")) == 3  # filters, feature maps, attention
    result = json.loads(only(found.folder.glob("runs/dates_transformer/*/result.json")).read_text())
    assert math.isfinite(result["metrics"]["test"]["loss"])


@pytest.mark.slow
def test_language(executed):
    """It trains a small GPT-2, writes and reads it as a published folder, and switches off each of its heads."""
    found = executed("language", devices=1, less=[('"steps": 600', '"steps": 20'), ("width=128", "width=16")])
    assert found.warned == []
    assert "'config.json', 'model.safetensors', 'tokenizer.json'" in found.text
    assert any("treescope" in page for page in found.shown("text/html"))
    assert "likeliest: The import statement is used to" in found.text
    assert len(re.findall(r"^layer [01] head [0-3]  [+-]\d\.\d{3} nats, 95 % ", found.text, flags=re.MULTILINE)) == 8
    assert len(found.shown("image/png")) == 2  # attention, and what each head is worth
