"""Nothing that is loaded is a pickle, and what looks like one is refused before it runs."""

import ast
import os
import pickle
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from research import weights
from research.data import Sequences, Table
from research.errors import RunError, UsageError
from research.experiment import RunOptions
from research.interchange import read_tensors
from research.training import restore
from research.training.initialization.beginning import begin

ROOT = Path(__file__).parents[2]
FORBIDDEN = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "yaml", "torch"}
LOADS = ("json.loads", "tomllib.loads", "np.load", "Restricted(file).load")
UNPICKLER = "research/interchange/torch_files.py"  # the one with a closed list of names, which tests of its own show


class Touch:
    """What touches a file when it is unpickled."""

    def __init__(self, canary):
        self.canary = canary

    def __reduce__(self):
        return os.system, (f"touch {self.canary}",)


@pytest.fixture
def canary(tmp_path):
    """A file that hostile pickles make; the pickles work, and none of them is run by the test that asks for this."""
    path = tmp_path / "canary"
    pickle.loads(pickle.dumps(Touch(path)))
    assert path.exists()
    path.unlink()
    yield path
    assert not path.exists()


def zipped(path, name, content):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, content)


def array(path):
    """An array of objects, as NumPy pickles them."""
    np.save(path, np.array([Touch(path.parent / "canary")], object), allow_pickle=True)


@pytest.mark.fault("F25")
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("name", ["w.pt", "w.pth", "w.bin", "w.safetensors"])
def test_a_hostile_pickle_is_no_weights(name, protocol, canary, tmp_path, capsys):
    file, content = tmp_path / name, pickle.dumps(Touch(canary), protocol)
    for write in (file.write_bytes, lambda content: zipped(file, "archive/data.pkl", content)):
        write(content)
        with pytest.raises(UsageError, match=f"cannot read .*{name}: it "):
            read_tensors(file)
        words = ["import", str(file), "--experiment", "experiments.digits_cnn", "--workdir", str(tmp_path / "run")]
        assert weights.main(words) == 2
        assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.fault("F25")
@pytest.mark.parametrize("name", ["w.pkl", "w.npy", "w.npz", "w.ckpt", "w.joblib", "w"])
def test_files_of_other_names_are_no_weights(name, canary, tmp_path):
    (tmp_path / name).write_bytes(pickle.dumps(Touch(canary)))
    with pytest.raises(UsageError, match="is no file of weights by its name"):
        read_tensors(tmp_path / name)


@pytest.mark.fault("F25")
def test_a_hostile_array_is_no_data(canary, tmp_path):
    """Objects among the arrays, a file of one array of them, and a pickle by itself, under the name of either."""
    array(tmp_path / "x.npy")
    zipped(tmp_path / "objects.npz", "features.npy", (tmp_path / "x.npy").read_bytes())
    shutil.copy(tmp_path / "x.npy", tmp_path / "one.npz")
    (tmp_path / "pickle.npz").write_bytes(pickle.dumps(Touch(canary)))
    zipped(tmp_path / "inside.npz", "features", pickle.dumps(Touch(canary)))
    for name in ("objects", "one", "pickle", "inside"):
        path = str(tmp_path / f"{name}.npz")
        for data in (Table(path, features=3), Sequences(path)):
            with pytest.raises(UsageError, match=f"{name}.npz") as caught:
                data.open("train")
            assert "\n" not in str(caught.value)


@pytest.mark.fault("F25")
def test_hostile_files_in_a_run_folder_are_refused(canary, experiment, data_dir, tmp_path):
    """Every file that is read when a run is restored, each in turn a pickle."""
    root = tmp_path / "run"
    begin(experiment, root, RunOptions(data_dir=data_dir))
    bad = pickle.dumps(Touch(canary))
    for path in sorted(path for path in root.rglob("*") if path.is_file() and path.name != ".lock"):
        whole = path.read_bytes()
        path.write_bytes(bad)
        try:
            assert int(restore(root)[1].step) == 0
        except RunError as error:
            assert str(error)
        path.write_bytes(whole)
    for name in ("checkpoint.pkl", "checkpoints/latest/0/state.pt", "checkpoints/latest/9/default.pkl", "result.pkl"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(bad)
    try:
        restore(root)
    except RunError as error:
        assert str(error)


def calls(tree):
    """The dotted names that a module calls, and its keyword arguments."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), {keyword.arg: keyword.value for keyword in node.keywords}


@pytest.mark.fault("F25", "F27")
@pytest.mark.parametrize("folder", ["research", "experiments"])
def test_the_source_loads_no_pickle_and_runs_no_text(folder):
    for path in sorted((ROOT / folder).rglob("*.py")):
        name, tree = path.relative_to(ROOT).as_posix(), ast.parse(path.read_text())
        imported = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add((node.module or "").split(".")[0])
        assert imported & FORBIDDEN == ({"pickle"} if name == UNPICKLER else set()), name
        for called, keywords in calls(tree):
            assert called not in ("eval", "exec", "compile", "__import__", "pickle.load", "pickle.loads"), name
            assert not called.endswith((".loads", ".load")) or called in LOADS, name
            assert called not in ("os.system", "os.popen") and "shell" not in keywords, name
            if called == "np.load":
                assert keywords["allow_pickle"].value is False, name
            if called == "importlib.import_module":  # of what the command line names as the user's own code
                assert name == "research/weights.py"


RUN = """
import pickle, sys

def refuse(*arguments, **options):
    raise AssertionError("a pickle was loaded")

class Refused(pickle.Unpickler):
    def __init__(self, *arguments, **options):
        refuse()

pickle.load = pickle.loads = refuse
pickle.Unpickler = pickle._Unpickler = Refused
import research.weights
from research.ablation import Study, one_at_a_time
from research.ablation.report import tabulate, write_report
from research.ablation.execution.running import ablate
from research.ablation.store.study_folder import Store
from research.data import Images
from research.experiment import Experiment, RunOptions, replace
from research.models import ResNet
from research.optimization import Optimizer
from research.tasks import Classification
from research.training import evaluate, predict, restore, train

import jax
root, data_dir = sys.argv[1:]
options = RunOptions(data_dir=data_dir, progress="none", pictures=False)
model = ResNet(stem="small", blocks=(1,), width=4)
experiment = Experiment(model, Classification(), Images("digits"), Optimizer(), steps=2, batch_size=17)
train(experiment, root + "/run", options)
experiment, state = restore(root + "/run")
evaluate(experiment, state, "test", options)
predict(experiment, state, "test", options)
file = root + "/w.safetensors"
assert research.weights.main(["export", "--workdir", root + "/run", "--output", file]) == 0
from research.experiment import Pretrained
from research.interchange import read_tensors
begun = replace(experiment, {"start": (Pretrained(file, read_tensors(file)[1]),)})
train(begun, root + "/begun", options)
ablate(experiment, Study(one_at_a_time({"optimizer.learning_rate": (0.1,)}), seeds=2), root + "/study", options)
table, learning = tabulate(Store(root + "/study"))
write_report(root + "/study", table, [learning])
print("done")
"""


@pytest.mark.slow
@pytest.mark.fault("F25")
def test_no_pickle_is_loaded_while_everything_runs(data_dir, tmp_path):
    """`pickle.load`, `loads` and `Unpickler` raise before anything else is imported, in all packages alike."""
    words = [sys.executable, "-c", RUN, str(tmp_path), data_dir]
    ended = subprocess.run(words, capture_output=True, text=True, cwd=ROOT)
    assert ended.returncode == 0 and ended.stdout.endswith("done\n"), ended.stderr[-3000:]
