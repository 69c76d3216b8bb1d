"""Which source decides a run's numbers: a lab with everything that a user may write, edited one thing at a time."""

import importlib
import itertools
import subprocess
import sys

import pytest

from research.data import Images
from research.experiment import Experiment, classes
from research.models import CNN, VGG
from research.optimization import Optimizer
from research.tasks import Classification
from research.training.identity.modules import HOST, STEP, modules

LAB = {
    "__init__": "from .model import Wide\n",
    "model": '''
"""Models."""
import flax.linen as nn
from . import helpers
from .helpers import scaled
from research.layers.activations import activate

class Wide(nn.Module):
    """A wide one."""
    width: int = 8
    @nn.compact
    def __call__(self, x, train=False):
        hidden = nn.Dense(self.width)(x)  # wide
        for index in range(2):
            hidden = scaled(activate("relu", hidden), index)
        return nn.Dense(10)(hidden)
''',
    "helpers": '''
import math
FACTOR = 2.0
def scaled(x, power):
    """Scale."""
    factor = math.pow(FACTOR, power)
    return x * factor
def unused(x):
    return x
''',
    "task": """
import dataclasses
from .helpers import scaled
@dataclasses.dataclass(frozen=True)
class Task:
    smoothing: float = 0.0
    def loss(self, logits, labels):
        total = logits - labels
        return scaled(total, 1)
    def summarize(self, sums):
        return {"loss": sums["loss"] / sums["count"]}
""",
    "data": """
import dataclasses
from .tokenizer import tokens
from .splits import share
@dataclasses.dataclass(frozen=True)
class Data:
    name: str = "mine"
    def open(self, split):
        rows = [tokens(line) for line in ("a b", "c")]
        return share(rows, split)
""",
    "tokenizer": '''
def tokens(line):
    """Words."""
    words = line.split()
    return [word.lower() for word in words]
''',
    "splits": """
def share(rows, split):
    cut = len(rows) * 8 // 10
    return rows[:cut] if split == "train" else rows[cut:]
""",
    "optimizer": """
import dataclasses
@dataclasses.dataclass(frozen=True)
class Descent:
    rate: float = 0.1
    def update(self, gradients):
        return [-self.rate * gradient for gradient in gradients]
""",
    "plots": "def draw(run):\n    return run\n",
}

CHANGES = {
    "a layer's width": ("model", "nn.Dense(self.width)", "nn.Dense(self.width + 1)"),
    "how often": ("model", "range(2)", "range(3)"),
    "an activation": ("model", '"relu"', '"gelu"'),
    "a default of a field": ("model", "width: int = 8", "width: int = 9"),
    "a helper's constant": ("helpers", "FACTOR = 2.0", "FACTOR = 3.0"),
    "a helper's arithmetic": ("helpers", "x * factor", "x / factor"),
    "a helper's argument": ("helpers", "math.pow(FACTOR, power)", "math.pow(power, FACTOR)"),
    "the loss": ("task", "logits - labels", "logits + labels"),
    "a metric": ("task", '/ sums["count"]', '/ (sums["count"] + 1)'),
    "which power": ("task", "scaled(total, 1)", "scaled(total, 2)"),
    "the rows": ("data", '"a b", "c"', '"a b", "d"'),
    "a split": ("splits", "* 8 // 10", "* 9 // 10"),
    "which split": ("splits", 'split == "train"', 'split == "test"'),
    "a tokenizer": ("tokenizer", "word.lower()", "word.upper()"),
    "how it splits": ("tokenizer", "line.split()", 'line.split(" ")'),
    "an optimizer": ("optimizer", "-self.rate", "-2 * self.rate"),
}
HARMLESS = {
    "a comment": ("model", "# wide", "# wider"),
    "a docstring": ("model", '"""A wide one."""', '"""A wider one."""'),
    "a module's docstring": ("model", '"""Models."""', ""),
    "a local": ("model", "hidden", "layer"),
    "a loop's variable": ("model", "index", "i"),
    "the order of imports": (
        "model",
        "import flax.linen as nn\nfrom . import helpers\n",
        "from . import helpers\nimport flax.linen as nn\n",
    ),
    "a helper's docstring": ("helpers", '"""Scale."""', '"""Scale it."""'),
    "a helper's local": ("helpers", "factor", "by"),
    "the order of functions": (
        "helpers",
        '''def scaled(x, power):
    """Scale."""
    factor = math.pow(FACTOR, power)
    return x * factor
def unused(x):
    return x
''',
        '''def unused(x):
    return x
def scaled(x, power):
    """Scale."""
    factor = math.pow(FACTOR, power)
    return x * factor
''',
    ),
    "blank lines": ("helpers", "FACTOR = 2.0\n", "FACTOR = 2.0\n\n\n"),
    "a task's local": ("task", "total", "difference"),
    "brackets": ("task", "scaled(total, 1)", "(scaled(total, 1))"),
    "a variable of a comprehension": ("data", "tokens(line) for line", "tokens(text) for text"),
    "a tokenizer's docstring": ("tokenizer", '    """Words."""\n', ""),
    "a tokenizer's local": ("tokenizer", "words", "found"),
    "what nothing imports": ("plots", "return run", "return None"),
}
numbers = itertools.count()


@pytest.fixture
def written(tmp_path, monkeypatch):
    """Write the lab, edited, under a new name and import it; return what decides its numbers, by name within it."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(edit=None):
        lab = f"lab_{next(numbers)}"
        (tmp_path / lab).mkdir()
        for name, text in LAB.items():
            if edit is not None and edit[0] == name:
                assert edit[1] in text
                text = text.replace(*edit[1:])
            (tmp_path / lab / f"{name}.py").write_text(text)
        parts = (("model", "Wide"), ("task", "Task"), ("data", "Data"), ("optimizer", "Descent"))
        values = frozenset(getattr(importlib.import_module(f"{lab}.{module}"), name) for module, name in parts)
        return {name.removeprefix(f"{lab}."): digest for name, digest in modules(values).items()}

    return write


@pytest.mark.parametrize("edit", CHANGES)
def test_what_may_change_a_number_changes_the_module_that_says_it(edit, written):
    before, after = written(), written(CHANGES[edit])
    assert {name for name in before | after if before.get(name) != after.get(name)} == {CHANGES[edit][0]}


@pytest.mark.parametrize("edit", HARMLESS)
def test_what_changes_none_is_the_same(edit, written):
    assert written(HARMLESS[edit]) == written()


def test_what_a_lab_is_made_of(written):
    found = written()
    own = {name for name in found if not name.startswith("research.")}
    assert own == {"model", "helpers", "task", "data", "tokenizer", "splits", "optimizer"}
    assert "research.layers.activations" in found and "research.training.update.step" in found
    assert found["research.layers.activations"].startswith(STEP) and found["splits"].startswith(HOST)


def test_an_experiment_is_made_of_its_own_parts_alone():
    """Neither other models and data, nor what shows, stores or plans."""
    parts = {"model": CNN(), "task": Classification(), "data": Images("digits"), "optimizer": Optimizer("adam")}
    found = modules(frozenset(classes(Experiment(**parts, steps=1, batch_size=2))))
    for part in ("models.images.plain.cnn", "layers.dropout", "optimization.optimizer", "data.images.images"):
        assert f"research.{part}" in found
    strangers = (
        "models.text",
        "data.text",
        "data.tables",
        "tasks.regression",
        "ablation",
        "cli",
        "planning",
        "devices",
    )
    for name in found:
        assert not name.startswith(tuple(f"research.{part}" for part in strangers)), name
    assert len(found) < 80


def test_weights_from_a_file_are_read_by_code_that_counts():
    kinds = frozenset((CNN, VGG))
    added = modules(kinds, from_file=True).keys() - modules(kinds).keys()
    assert "research.training.initialization.pretrained" in added and "research.interchange.tensors" in added
    assert "research.models.images.plain.vgg_names" in added
    assert not any("vit" in name for name in added)


def test_what_calls_back_is_judged_by_its_source(written):
    assert written(("model", "class Wide", "from jax import pure_callback\nclass Wide"))["model"].startswith(HOST)


def test_a_module_of_models_decides_through_programs_alone(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "mine_alone.py").write_text("import flax.linen as nn\nclass Mine(nn.Module):\n    width: int = 3\n")
    mine = importlib.import_module("mine_alone").Mine
    assert modules(frozenset((mine,)))["mine_alone"].startswith(STEP)


def test_a_command_a_script_and_an_import_name_a_module_alike(tmp_path, monkeypatch):
    (tmp_path / "mine_run.py").write_text(
        "import flax.linen as nn\n"
        "from research.training.identity.modules import modules\n"
        "class Mine(nn.Module):\n    width: int = 3\n"
        "if __name__ == '__main__':\n    print(modules(frozenset((Mine,)))['mine_run'])\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    imported = modules(frozenset((importlib.import_module("mine_run").Mine,)))["mine_run"]
    for how in (("-m", "mine_run"), ("mine_run.py",)):
        command = [sys.executable, *how]
        told = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
        assert told.strip() == imported


NOTEBOOK = """
class Model:
    'A model.'
    def __call__(self, x):
        'Call.'
        total = x + 1
        return helper(total)
def helper(x):
    return 2 * x
"""


def test_of_a_class_without_source_the_bytecode_counts():
    def digest(*edit):
        names = {"__name__": "a_notebook"}
        exec(compile(NOTEBOOK.replace(*edit) if edit else NOTEBOOK, "<notebook>", "exec"), names)
        return modules(frozenset((names["Model"],)))["a_notebook.Model"]

    for edit in (("'Call.'", "'Called.'"), ("total", "summed"), ("        total", "\n        total"), ("A model", "B")):
        assert digest(*edit) == digest(), edit
    for edit in (("x + 1", "x - 1"), ("x + 1", "x + 2"), ("2 * x", "3 * x"), ("helper", "helped")):
        assert digest(*edit) != digest(), edit
