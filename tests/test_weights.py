"""Weights from a run into a file and from a file into a run, by the command line."""

import shutil
import subprocess
import sys
import zipfile

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors

from research import cli, weights
from research.experiment import RunOptions, fingerprint
from research.interchange import read_tensors
from research.training import evaluate, identity, restore, train
from research.training.storage.checkpoints.checkpoint import Checkpoints
from research.training.storage.folder import Folder
from tests.golden.folders import write

MODULE = '''
"""A tiny residual network reads digits."""
from research.cli import main
from research.data import Images
from research.experiment import Experiment
from research.models import ResNet
from research.optimization import Optimizer
from research.tasks import Classification

experiment = Experiment(
    model=ResNet(blocks=(1,), width=3, stem="small"),
    task=Classification(),
    data=Images("digits"),
    optimizer=Optimizer("adamw", learning_rate=0.01, ema=0.5),
    steps=3,
    batch_size=19,
)
smoke = {"steps": 2}
'''

LANGUAGE_MODULE = '''
"""A tiny GPT-2 continues text."""
from research.data import Text, Trained
from research.experiment import Experiment
from research.models import gpt2
from research.optimization import Optimizer
from research.tasks import LanguageModeling

experiment = Experiment(
    model=gpt2(vocabulary=31, max_length=17, width=15, heads=3, layers=2),
    task=LanguageModeling(),
    data=Text("pydoc_topics", tokenizer=Trained("characters", 31), length=13, train="train[:2]"),
    optimizer=Optimizer(),
    steps=3,
    batch_size=5,
)
'''

pytestmark = pytest.mark.usefixtures("modules")


@pytest.fixture
def modules(tmp_path, monkeypatch):
    """A folder of experiment modules that can be imported."""
    folder = tmp_path / "modules"
    folder.mkdir()
    (folder / "tiny_resnet.py").write_text(MODULE)
    (folder / "tiny_gpt2.py").write_text(LANGUAGE_MODULE)
    (folder / "other_module.py").write_text("experiments = 3\n")
    monkeypatch.syspath_prepend(folder)
    yield
    for name in ("tiny_resnet", "tiny_gpt2", "other_module"):
        sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def source(tmp_path_factory, data_dir):
    """A trained run: its folder, and the weights exported from it."""
    folder = tmp_path_factory.mktemp("source")
    scope = {"__name__": "tiny"}
    exec(MODULE, scope)
    train(scope["experiment"], folder / "run", RunOptions(data_dir=data_dir, pictures=False, progress="none"))
    assert weights.main(["export", "--workdir", str(folder / "run"), "--output", str(folder / "w.safetensors")]) == 0
    return folder / "run", folder / "w.safetensors"


@pytest.fixture
def run(capsys, data_dir):
    """Run a command line; return exit code, standard output and standard error."""

    def run(*arguments):
        words = [str(argument) for argument in arguments]
        try:
            code = weights.main([*words, "--data_dir", data_dir] if words[:1] == ["import"] else words)
        except SystemExit as exit:
            code = exit.code
        return code, *capsys.readouterr()

    return run


def test_there_and_back_is_the_same_bit_for_bit(run, source, data_dir, tmp_path):
    code, out, err = run("import", source[1], "--experiment", "tiny_resnet", "--workdir", tmp_path / "run")
    assert (code, err) == (0, "") and "python -m tiny_resnet evaluate --workdir" in out
    (first, before), (second, after) = restore(source[0]), restore(tmp_path / "run")
    assert (int(before.step), int(after.step)) == (3, 0)
    for tree in (after.params, after.ema):
        chex.assert_trees_all_equal(tree, before.ema)  # what is evaluated is what is exported
    chex.assert_trees_all_equal(after.variables, before.variables)
    options = RunOptions(data_dir=data_dir)
    # The program of the first was compiled as for a run, which may add up in another order.
    assert evaluate(second, after, "test", options) == pytest.approx(evaluate(first, before, "test", options), rel=1e-6)
    assert run("export", "--workdir", tmp_path / "run", "--output", tmp_path / "again.safetensors")[0] == 0
    (again, _), (written, _) = read_tensors(tmp_path / "again.safetensors"), read_tensors(source[1])
    assert again.keys() == written.keys()
    for name, tensor in written.items():
        np.testing.assert_array_equal(again[name], tensor, strict=True)


def test_a_file_says_of_which_run_and_code_its_weights_are(source):
    with safetensors.safe_open(source[1], "numpy") as opened:
        said = opened.metadata()
    experiment = restore(source[0])[0]
    assert said["fingerprint"] == fingerprint(experiment) and said["seed"] == str(experiment.seed)
    assert said["code"] == identity.read(Folder(source[0])).name


def test_the_names_are_torchvisions(source):
    tensors, _ = read_tensors(source[1])
    params = restore(source[0])[1].ema
    np.testing.assert_array_equal(
        tensors["conv1.weight"].transpose(2, 3, 1, 0), params["stem"]["convolution"]["kernel"]
    )
    np.testing.assert_array_equal(tensors["fc.weight"].T, params["logits"]["kernel"])
    assert "layer1.0.bn2.running_var" in tensors


def test_commands_of_the_experiment_take_the_imported_run(run, source, data_dir, tmp_path, capsys):
    folder = tmp_path / "run"
    flags = ("--batch_size", "23")
    assert run("import", source[1], "--experiment", "tiny_resnet", "--workdir", folder, *flags, "--smoke")[0] == 0
    module = sys.modules["tiny_resnet"]

    def command(name, *arguments):
        words = [name, "--workdir", str(folder), "--data_dir", data_dir, *map(str, arguments)]
        with pytest.raises(SystemExit) as exit:
            cli.main(module.experiment, smoke=module.smoke, file=module.__file__, doc="", arguments=words)
        return exit.value.code or 0, *capsys.readouterr()

    assert "test at step 0: loss" in command("evaluate")[1]
    assert "test at step 0: loss" in command("evaluate", *flags, "--smoke")[1]
    code, _, err = command("train", "--smoke", "--no-pictures", "--progress", "none")
    assert code == 2 and "batch_size: 23 -> 19" in err and "start" not in err
    assert command("train", *flags, "--smoke", "--no-pictures", "--progress", "none")[0] == 0
    experiment, state = restore(folder)
    assert int(state.step) == 2 and experiment.start[0].file == str(source[1])
    assert (
        "holds this run already, at step 2"
        in run("import", source[1], "--experiment", "tiny_resnet", "--workdir", folder, *flags, "--smoke")[1]
    )


def test_parts_can_be_named(run, source, tmp_path):
    arguments = (
        "--experiment",
        "tiny_resnet",
        "--workdir",
        tmp_path / "run",
        "--start.0.parameters",
        "stem",
        "stage_0",
    )
    assert run("import", source[1], *arguments)[0] == 0
    params, other = (restore(folder)[1].params for folder in (tmp_path / "run", source[0]))
    ema = restore(source[0])[1].ema
    chex.assert_trees_all_equal(params["stem"], ema["stem"])
    assert not np.array_equal(params["logits"]["kernel"], ema["logits"]["kernel"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("exprot",), 'there is no command "exprot"; did you mean "export"?'),
        (("import", "--experiment", "tiny_resnet"), "say what to import"),
        (("import", "FILE"), "say what to import"),
        (("import", "FILE", "--experiment", "tiny_resnt"), 'there is no module "tiny_resnt"'),
        (("import", "FILE", "--experiment", "experiments.digits_cn"), 'did you mean "experiments.digits_cnn"'),
        (("import", "FILE", "--experiment", ".tiny"), 'there is no module ".tiny"'),
        (("import", "FILE", "--experiment", "other_module"), '"other_module" is no module of an experiment'),
        (("import", "FILE", "--experiment", "experiments.digits_cnn"), "no names of another library for CNN"),
        (("import", "none.safetensors", "--experiment", "tiny_resnet"), "cannot read none.safetensors: No such file"),
        (
            ("import", "FILE", "--experiment", "tiny_resnet", "--model.width", "5"),
            "; name in start.0.parameters what is to be taken, or set model.width, which is 5, to 3\n",
        ),
        (
            ("import", "FILE", "--experiment", "tiny_resnet", "--start.0.sha256", "0"),
            "is another file than start.0.sha256",
        ),
        (("import", "FILE", "--experiment", "tiny_resnet", "--model.widht", "5"), "--model.width"),
        (("import", "CUT", "--experiment", "tiny_resnet"), "it is no safetensors file, or damaged"),
        (("import", "ZIP", "--experiment", "tiny_resnet"), "it is no file of PyTorch's, or damaged"),
    ],
)
def test_bad_usage_exits_with_2_and_writes_nothing(run, source, tmp_path, arguments, said):
    cut, garbled = tmp_path / "cut.safetensors", tmp_path / "zip.pt"
    cut.write_bytes(source[1].read_bytes()[:-1])
    with zipfile.ZipFile(garbled, "w") as archive:
        archive.writestr("archive/data.pkl", b"garbage")
    files = {"FILE": source[1], "CUT": cut, "ZIP": garbled}
    workdir = ("--workdir", tmp_path / "run") if arguments[0] == "import" else ()
    code, out, err = run(*(files.get(word, word) for word in arguments), *workdir)
    assert code == 2 and said in err and out == ""
    assert "Traceback" not in err
    assert not (tmp_path / "run").exists()


def test_a_folder_with_another_run_is_refused(run, source):
    before = sorted(source[0].rglob("*"))
    code, _, err = run("import", source[1], "--experiment", "tiny_resnet", "--workdir", source[0])
    assert code == 2 and "holds another experiment:\nstart: () -> (Pretrained" in err
    assert sorted(source[0].rglob("*")) == before


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (
            ("--workdir", "RUN", "--output", "FOLDER/w.pth"),
            2,
            "--output must end in .safetensors, or have no ending for a folder, not w.pth",
        ),
        (("--workdir", "RUN", "--output", "FOLDER/none/w.safetensors"), 2, "there is no folder"),
        (("--workdir", "RUN", "--output", "FOLDER/w"), 2, "no published family has models like ResNet"),
        (("--workdir", "FOLDER", "--output", "FOLDER/w.safetensors"), 1, "is not a run folder"),
        (("--workdir", "RUN", "--output", "FOLDER/w.safetensors", "--checkpoint", "bst"), 2, "best"),
    ],
)
def test_what_cannot_be_exported_is_said(run, source, tmp_path, arguments, code, said):
    words = [word.replace("RUN", str(source[0])).replace("FOLDER", str(tmp_path)) for word in arguments]
    found, _, err = run("export", *words)
    assert found == code and said in err
    assert list(tmp_path.iterdir()) == [tmp_path / "modules"]


def test_the_folder_of_a_language_model_goes_in_and_out(run, tmp_path):
    folder, out = write("gpt2", tmp_path / "theirs"), tmp_path / "ours"
    code, said, err = run("import", folder, "--experiment", "tiny_gpt2", "--workdir", tmp_path / "run")
    assert (code, err) == (0, "") and f"at step 0 in {tmp_path / 'run'}, from {folder}" in said
    code, said, err = run("export", "--workdir", tmp_path / "run", "--output", out)
    assert (code, err) == (0, "") and "which transformers reads: complete its README.md" in said
    (ours, _), (theirs, _) = (read_tensors(each / "model.safetensors") for each in (out, folder))
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        np.testing.assert_array_equal(ours[name], tensor, strict=True)
    with safetensors.safe_open(out / "model.safetensors", "numpy") as opened:
        assert opened.metadata()["fingerprint"] == fingerprint(restore(tmp_path / "run")[0])
    other = ("--model.vocabulary", "37")
    code, _, err = run("import", folder, "--experiment", "tiny_gpt2", "--workdir", tmp_path / "more", *other)
    assert code == 2 and err.endswith("what is to be taken, or set model.vocabulary, which is 37, to 31\n")
    other = ("--model.layers", "3")
    code, _, err = run("import", folder, "--experiment", "tiny_gpt2", "--workdir", tmp_path / "more", *other)
    assert code == 2 and 'theirs does not fit: the weights lack "transformer.h.2.attn.c_attn.bias"' in err


def test_the_best_state_can_be_exported(run, source, tmp_path):
    folder = shutil.copytree(source[0], tmp_path / "run")
    shutil.rmtree(folder / "checkpoints" / "best")
    state = restore(folder)[1]
    with Checkpoints(folder / "checkpoints") as checkpoints:
        checkpoints.save("best", state._replace(step=state.step - 1, ema=jax.tree.map(jnp.ones_like, state.ema)))
    code, out, _ = run("export", "--workdir", folder, "--output", tmp_path / "best.safetensors", "--checkpoint", "best")
    assert code == 0 and "at step 2 in" in out
    assert np.all(read_tensors(tmp_path / "best.safetensors")[0]["fc.bias"] == 1)


def test_help_is_shown_without_an_experiment():
    command = [sys.executable, "-m", "research.weights"]
    shown = subprocess.run([*command, "--help"], capture_output=True, text=True)
    assert shown.returncode == 0 and "export --workdir RUN" in shown.stdout
