"""Laws that take eight devices, simulated, so each runs in a process of its own: `hold(law, folder, data_dir)`."""

import importlib
import json
import re
import shutil
import warnings
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from research.devices import Layout, lay_out
from research.errors import UsageError
from research.experiment import Experiment, Placement, RunOptions, replace, split
from research.kernels import attention
from research.layers import partition
from research.models import MLP
from research.planning.lowering import lowered
from research.training import Diverged, Interrupted, init, read_references, restore, train
from tests.training.distilling import pupil
from tests.training.faults import poisoned

ONE = Placement(data=1)
TOLERANCE = 1e-5


def small(name: str, **overrides) -> Experiment:
    """Return the smoke variant of an experiment, for five steps of a batch that eight devices can share."""
    module = importlib.import_module(f"experiments.{name}")
    return replace(module.experiment, {**module.smoke, "batch_size": 16, "steps": 5, **overrides})


def lines(folder: Path, name: str = "train") -> list[dict[str, float]]:
    """Return the journal's lines of a split."""
    text = (folder / "metrics.jsonl").read_text()
    return [line for line in map(json.loads, text.splitlines()) if line["split"] == name]


def trained(experiment: Experiment, folder: Path, data_dir: str, placement: Placement, **options) -> Path:
    """Train in a folder of that name and return it."""
    quiet = {"log_every": 1, "evaluate_every": 0, "pictures": False, "progress": "none", "data_dir": data_dir}
    train(experiment, folder, RunOptions(placement=placement, **{**quiet, **options}))
    return folder


def assert_same(run: Path, expected: Path, gradients: bool = True) -> None:
    """Check every number of two runs: Adam hides gradients of eight times the size, so their norms are compared too."""
    for name in ("train", "validation", "test"):
        assert len(lines(run, name)) == len(lines(expected, name)) > 0
        for found, wanted in zip(lines(run, name), lines(expected, name), strict=True):
            assert found.keys() == wanted.keys() and ("gradient_norm" in found) == (name == "train")
            for key in found.keys() - {"split"}:
                assert found[key] == pytest.approx(wanted[key], rel=TOLERANCE, abs=TOLERANCE), (run, found, wanted, key)
    one, other = restore(run)[1], restore(expected)[1]
    for found, wanted in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=TOLERANCE, atol=TOLERANCE)


def placements(experiment: Experiment, folder: Path, data_dir: str, *names: str) -> None:
    """However eight devices share a run, its numbers are those of one; dropout and augmentation are the same."""
    alone = trained(experiment, folder / "one", data_dir, ONE)
    every = {
        "data": Placement(),
        "fsdp": Placement(fsdp=8),
        "all": Placement(fsdp=2, tensor=2 if experiment.model.partition else 1),
        "pmap": Placement(method="pmap"),
    }
    for name in names:
        assert_same(trained(experiment, folder / name, data_dir, every[name]), alone)


def lstm(folder: Path, data_dir: str) -> None:
    """An LSTM: dropout, noise, sequences of differing lengths."""
    placements(small("vowels_lstm"), folder, data_dir, "all", "pmap")


def transformer(folder: Path, data_dir: str) -> None:
    """A Transformer over text, on meshes with each axis."""
    placements(small("text_transformer", **{"model.dropout": 0.1}), folder, data_dir, "fsdp", "all", "pmap")


def parts(folder: Path, data_dir: str) -> None:
    """A batch in two parts, on one device and on eight; the parts are the same rows."""
    placements(small("mnist5k_resnet", accumulation=2), folder, data_dir, "data", "pmap")


def streams(folder: Path, data_dir: str) -> None:
    """Examples that stay on the host, or are read again every epoch, are divided alike; several steps in a call too."""
    experiment = small("digits_cnn", steps=6)
    alone = trained(experiment, folder / "one", data_dir, ONE, log_every=2)
    for residency in ("ram", "stream"):
        run = trained(experiment, folder / residency, data_dir, Placement(), residency=residency, log_every=2)
        assert_same(run, alone)
    run = trained(experiment, folder / "calls", data_dir, Placement(), steps_per_call=2, log_every=2)
    assert_same(run, alone)


def references(folder: Path, data_dir: str) -> None:
    """A frozen network is divided by the rules of its own model, or each device has all of it."""
    experiment = pupil(small("digits_cnn", **{"model.dropout": 0.2}))
    alone = trained(experiment, folder / "one", data_dir, ONE)
    found = read_references(experiment, folder / "one", RunOptions())
    layout = lay_out(experiment, Placement(fsdp=8))
    held = jax.tree.leaves(read_references(experiment, folder / "one", RunOptions(), layout))
    assert any(leaf.addressable_data(0).nbytes < leaf.nbytes for leaf in held)
    chex.assert_trees_all_equal(jax.device_get(held), jax.device_get(jax.tree.leaves(found)))
    for name, placement in {"fsdp": Placement(fsdp=8), "pmap": Placement(method="pmap")}.items():
        shared = {"start_dir": str(folder / "one" / "start")}
        assert_same(trained(experiment, folder / name, data_dir, placement, **shared), alone)


def elastic(folder: Path, data_dir: str) -> None:
    """Saved on one mesh, restored on any other: the run ends as if it had not been interrupted.

    A ResNet: batch norm, dropout, shifts and cutout. `parts` divides its batch alone.
    """
    experiment = small("mnist5k_resnet")
    alone = trained(experiment, folder / "one", data_dir, ONE)
    meshes = {
        "one": ONE,
        "eight": Placement(fsdp=8),
        "two": Placement(data=2, fsdp=1),
        "pmap": Placement(method="pmap"),
    }
    for name, before, after in (
        ("shards", Placement(data=2, fsdp=4), ("one", "eight", "two", "pmap")),
        ("replicas", meshes["pmap"], ("one",)),
    ):
        with pytest.raises(Interrupted):
            trained(experiment, folder / name, data_dir, before, stop_after=3)
        for mesh in after:
            run = shutil.copytree(folder / name, folder / f"{name}_then_{mesh}")
            assert_same(trained(experiment, run, data_dir, meshes[mesh]), alone)


def not_finite(folder: Path, data_dir: str) -> None:
    """However eight devices share a run, a number that is none is found in the same row, and left out of all alike."""
    whole = poisoned.experiment(nan=(17,), batch_size=16, steps=5, model=MLP(hidden=(8,), classes=3))
    skips, rewinds = (replace(whole, {"safety.nonfinite": policy}) for policy in ("skip", "rewind"))
    alone = trained(skips, folder / "one", data_dir, ONE)
    with pytest.raises(Diverged) as expected:
        trained(whole, folder / "one_stops", data_dir, ONE)
    assert "row 17 of the training split" in str(expected.value) and lines(alone)[-1]["skipped"] > 1
    for name, placement in {"fsdp": Placement(fsdp=8), "pmap": Placement(method="pmap")}.items():
        run = trained(rewinds, folder / name, data_dir, placement, checkpoint_every=2)
        for found, wanted in zip(lines(run), lines(alone), strict=True):
            assert found["skipped"] == wanted["skipped"]
            np.testing.assert_allclose(found["parameter_norm"], wanted["parameter_norm"], rtol=TOLERANCE)
        with pytest.raises(Diverged) as raised:
            trained(whole, folder / f"{name}_stops", data_dir, placement)
        assert str(raised.value) == str(expected.value)


def compiles_once(folder: Path, data_dir: str) -> None:
    """Nothing is compiled after the first step, wherever the step runs."""
    compiled: list[str] = []
    steps: list[int] = []

    def event(name: str, seconds: float, **_) -> None:
        """Remember at which step something was compiled."""
        if name == "/jax/core/compile/backend_compile_duration":
            compiled.append(str(steps[-1] if steps else 0))

    from research.training.display import progress

    class Watching(progress.Silence):
        """Knows the step."""

        def advance(self, step: int) -> None:
            steps.append(step)

    jax.monitoring.register_event_duration_secs_listener(event)
    progress.Silence, silent = Watching, progress.Silence
    for name, placement in {"fsdp": Placement(data=2, fsdp=2, tensor=2), "pmap": Placement(method="pmap")}.items():
        del compiled[:], steps[:]
        trained(small("text_transformer"), folder / name, data_dir, placement)
        assert steps == [1, 2, 3, 4, 5]
        assert "0" in compiled and not {"1", "2", "3", "4"} & {*compiled}, compiled
    progress.Silence = silent


def communicates_gradients_alone(folder: Path, data_dir: str) -> None:
    """Data parallel: gradients are added up and nothing is gathered. Fully sharded: each device holds its part."""
    for name, more in (("mnist5k_resnet", {"model.blocks": (1, 1)}), ("vowels_lstm", {}), ("text_transformer", {})):
        experiment = small(name, **more)
        text = lowered(experiment, lay_out(experiment, Placement())).compile().as_text()
        assert "all-reduce" in text
        assert not re.findall(r"all-gather|all-to-all|collective-permute", text), name
        layout = lay_out(experiment, Placement(fsdp=8))
        state = layout.put(init(experiment, jax.random.key(0)))
        leaves = jax.tree.leaves(state)
        for leaf in leaves:
            divides = leaf.size >= partition.LEAST_ELEMENTS and any(size % 8 == 0 for size in leaf.shape)
            assert leaf.addressable_data(0).nbytes == leaf.nbytes / (8 if divides else 1), (name, leaf.shape)
        assert sum(leaf.addressable_data(0).nbytes for leaf in leaves) < sum(leaf.nbytes for leaf in leaves) / 2


def refuses(folder: Path, data_dir: str) -> None:
    """What does not divide is one sentence, before anything runs."""
    experiment = small("digits_cnn")
    for placement, sentence in {
        Placement(data=3): "a mesh of data 3 x fsdp 1 x tensor 1 does not divide 8 devices",
        Placement(fsdp=3): "fsdp 3 x tensor 1 does not divide 8 devices",
        Placement(data=16): "a mesh of data 16 x fsdp 1 x tensor 1 does not divide 8 devices",
        Placement(method="pmap", fsdp=2): "pmap shares the batch alone",
    }.items():
        with pytest.raises(UsageError, match=sentence):
            trained(experiment, folder / "refused", data_dir, placement)
    uneven = replace(experiment, {"batch_size": 12})
    with pytest.raises(UsageError, match="12 examples at once do not divide among data 8 x fsdp 1 x tensor 1"):
        trained(uneven, folder / "refused", data_dir, Placement(data=8))
    with pytest.raises(
        UsageError, match="12 examples at once do not divide among data 1 x fsdp 8 x tensor 1: set batch"
    ):
        trained(replace(uneven, {"batch_size": 12}), folder / "refused", data_dir, Placement(fsdp=8))
    assert not (folder / "refused").exists()
    assert lay_out(uneven, Placement()).devices == 4  # as many as can share it
    assert lay_out(uneven, ONE) == Layout() == lay_out(replace(uneven, {"batch_size": 11}), Placement())


def lays_out_by_rules(folder: Path, data_dir: str) -> None:
    """Optimizer state lies as the parameters do, and equal layouts share their programs."""
    experiment = small("text_transformer", **{"model.width": 64, "model.heads": 4})
    layout = lay_out(experiment, Placement(data=2, fsdp=2, tensor=2))
    state = init(experiment, jax.random.key(0))
    shardings = layout.shardings(state)
    specs = {
        jax.tree_util.keystr(path, simple=True, separator="."): leaf.spec
        for path, leaf in jax.tree_util.tree_leaves_with_path(shardings)
    }
    kernels = [path for path in specs if path.endswith("query.kernel")]
    assert len(kernels) >= 3 and len({specs[path] for path in kernels}) == 1
    assert "tensor" in specs[kernels[0]] and "fsdp" in specs[kernels[0]]
    assert layout == lay_out(experiment, Placement(data=2, fsdp=2, tensor=2))
    assert split(experiment)[0] == split(replace(experiment, {"seed": 3}))[0]


def attends_in_blocks(folder: Path, data_dir: str) -> None:
    """Long sequences are divided by rows and heads, and only the gradient of a bias that all share passes between."""
    attention.BLOCK, attention.LEAST_BLOCK = 5, 3
    generator = np.random.default_rng(0)
    inputs = [generator.normal(size=(2, 13, 4, 5)).astype(np.float32) for _ in range(3)]
    bias = generator.normal(size=(1, 4, 13, 13)).astype(np.float32)
    mesh = jax.make_mesh((2, 4), ("data", "tensor"), axis_types=(AxisType.Auto,) * 2)
    divided, whole = (NamedSharding(mesh, spec) for spec in (PartitionSpec("data", None, "tensor"), PartitionSpec()))
    for window in (None, 4):

        def loss(inputs, bias, window=window):
            return jnp.sin(attention.attend(*inputs, bias=bias, causal=True, window=window)).sum()

        gradient = jax.jit(jax.grad(loss, argnums=(0, 1)))
        placed = [jax.device_put(x, divided) for x in inputs], jax.device_put(bias, whole)
        program = gradient.lower(*placed).compile()
        assert not re.search("all-gather|all-to-all|collective-permute", program.as_text())
        for found, wanted in zip(
            jax.tree.leaves(program(*placed)), jax.tree.leaves(gradient(inputs, bias)), strict=True
        ):
            np.testing.assert_allclose(found, wanted, rtol=TOLERANCE, atol=TOLERANCE)


def go_on(run: str, data_dir: str) -> None:
    """Take up, on eight devices simulated in this process, a run that others began."""
    simulate()
    trained(restore(run)[0], Path(run), data_dir, Placement(fsdp=8))


def simulate() -> None:
    """Have eight devices in this process, and warnings be errors."""
    warnings.simplefilter("error")
    jax.config.update("jax_num_cpu_devices", 8)
    jax.config.update("jax_numpy_rank_promotion", "raise")


def hold(law: str, folder: str, data_dir: str) -> None:
    """Simulate eight devices in this process, and see whether one of the laws above holds."""
    simulate()
    partition.LEAST_ELEMENTS = 16  # or the small variants would have nothing to divide
    globals()[law](Path(folder), data_dir)
    print("holds", law)
