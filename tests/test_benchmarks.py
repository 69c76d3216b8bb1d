"""Benchmarks: every command describes itself, tables and pictures say what was measured, and both sides do the same."""

import importlib
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

from benchmarks import all as every
from benchmarks import decode, growth, limits, memory, startup, sweep
from benchmarks.drawing import Bars, Lines
from benchmarks.peers import flax_sweep
from benchmarks.tables import compare, in_turn
from benchmarks.train_step import Drawn, classified
from benchmarks.writing import write
from research.experiment import replace
from research.models import MLP
from research.planning.flops import work
from research.planning.lowering import step_jaxpr
from research.training.update.shapes import abstract_state
from research.training.update.state import count_parameters

COMMANDS = (
    "all",
    "attention",
    "checkpoint",
    "decode",
    "growth",
    "input",
    "limits",
    "loop",
    "memory",
    "parity",
    "scan_layers",
    "startup",
    "sweep",
    "train_step",
)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_names_the_command_and_where_its_files_go(name, monkeypatch, capsys):
    module = importlib.import_module(f"benchmarks.{name}")
    monkeypatch.setattr(sys, "argv", [name, "--help"])
    with pytest.raises(SystemExit) as ended:
        module.main()
    printed = capsys.readouterr().out
    assert ended.value.code == 0
    assert f"python -m benchmarks.{name}" in printed
    assert f"{name}.json and {name}.png" in " ".join(printed.split())


def test_a_ratio_is_the_median_over_rounds_of_ratios_within_a_round():
    rows = compare({"one": [[1.0, 3.0, 2.0], [10.0]], "other": [[6.0], [10.0]]}, "one")
    # Medians of rounds: 2 and 10 here, 6 and 10 there.
    assert rows["other"] == {"min": 6.0, "median": 8.0, "min_ratio": 6.0, "ratio": (3.0 + 1.0) / 2}
    assert rows["one"] == {"min": 1.0, "median": 2.5, "min_ratio": 1.0, "ratio": 1.0}
    assert compare({"other": [[6.0]]}, "one") == {"other": {"min": 6.0, "median": 6.0}}


def test_every_ratio_is_found_and_what_got_worse_is_named(tmp_path):
    sides = {"here": {"median": 2.0, "ratio": 0.5}, "plain": {"median": 4.0, "ratio": 1.0}}
    content = {"families": {"mlp": sides}, "rows": [{"length": 64, "window": None, "table": sides}], "steps": 600}
    assert list(every.ratios(content)) == [("mlp here", 0.5), ("length 64 here", 0.5)]

    def measured(commit, low, high):
        named = (("slower", "lower", low), ("faster", "higher", high))
        return [every.Ratio(commit, "2026-01-01", "step", name, better, value) for name, better, value in named]

    first, second = measured("a", 1.0, 1.0), measured("b", 1.09, 0.92)
    assert every.worse(first, []) == every.worse(second, first) == []
    third = measured("c", 1.2, 0.8)
    assert every.worse(third, [*first, *second]) == [(third[0], 1.09), (third[1], 0.92)]
    every.keep(tmp_path / "history.csv", [*first, *third])
    assert every.read(tmp_path / "history.csv") == [*first, *third]
    assert "| step | slower | 1.2 | lower | 1.09 |" in every.page("two cores", third, every.worse(third, second))


def test_every_second_round_is_backwards():
    assert in_turn("ab", 3) == [(0, "a"), (0, "b"), (1, "b"), (1, "a"), (2, "a"), (2, "b")]


def test_growth_is_the_slope_of_the_second_half():
    # Allocates 50 MiB at first, then a quarter of one every tenth step; the trials that are left count down.
    noted = [(100 - step, 100.0 + min(step, 50) + max(step - 50, 0) / 40) for step in range(0, 101, 10)]
    found = memory.row("trials", True, 200, noted)
    assert found["growth"] == pytest.approx(1024 / 40)
    assert found["share"] == pytest.approx(200 / 40 / 150)
    assert (found["first"], found["greatest"], found["last"]) == (100, 151.25, 151.25)


def test_what_data_take_is_what_is_added_to_a_run_with_almost_none():
    little, half, whole = ({"peak": peak, "seconds": seconds} for peak, seconds in ((300.0, 1.0), (340, 4), (390, 7)))
    found = growth.row(60.0, little, half, whole)
    assert (found["added"], found["times data"], found["x half"], found["peak"]) == (90, 1.5, 1.75, 390)


@pytest.mark.parametrize("kind", growth.KINDS)
def test_data_of_every_kind_are_about_as_large_as_asked(kind, tmp_path):
    path = Path(growth.make(kind, 0.5, tmp_path))
    experiment = growth.experiment_of(kind, str(path))
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    assert 0.4 < sum(file.stat().st_size for file in files) / 2**20 < 0.6
    assert len(experiment.data.open("validation"))


def test_startup_is_told_in_times_of_the_import_of_the_same_round():
    rounds = [dict.fromkeys(startup.COLUMNS, seconds) for seconds in (3.0, 20.0, 8.0)]
    rows = startup.table(rounds, [1.0, 10.0, 2.0])
    assert (rows["until"]["min"], rows["until"]["median"], rows["until"]["ratio"]) == (3.0, 8.0, 3.0)


def test_the_products_of_a_step_are_counted_once_for_each_time_that_they_run():
    data = Drawn((("features", (5,), 0), ("label", (), 10)))
    jaxpr = step_jaxpr(classified(MLP((3, 7)), data, 13))
    counts = limits.operations(jaxpr)
    # The products of a layer are its output and the gradients of its kernel and its input, but of the first layer's.
    layers = {"forward": [5 * 3, 3 * 7, 7 * 10], "gradient": [5 * 3, 3 * 7, 3 * 7, 7 * 10, 7 * 10]}
    for of, terms in layers.items():
        found = [operation.flops for (operation, each), count in counts.items() for _ in range(count) if each == of]
        assert sorted(found) == sorted(2 * 13 * each for each in terms)
    assert sum(count * operation.flops for (operation, _), count in counts.items()) == work(jaxpr).single


def test_products_in_a_loop_count_as_often_as_it_runs_and_of_platforms_only_those_of_a_cpu():
    def unused_beside_used(state, kernel):
        return kernel @ kernel, state @ kernel

    def step(state, kernel):
        _, state = jax.jit(unused_beside_used)(state, kernel)
        chosen = jax.lax.platform_dependent(state, cpu=lambda x: x @ kernel, default=lambda x: x @ kernel @ kernel)
        return chosen, None

    def program(state, kernel):
        return jax.lax.scan(lambda state, _: step(state, kernel), state, length=11)

    (((operation, of), count),) = limits.operations(jax.make_jaxpr(program)(jnp.ones((3, 5)), jnp.ones((5, 5)))).items()
    assert (str(operation), operation.flops, of, count) == ("dot 3x5 * 5x5 ab,bc->ac", 2 * 3 * 5 * 5, "forward", 22)
    assert all(seconds > 0 for seconds in limits.timer(operation)())


def test_scores_that_are_far_apart_are_told():
    rows = [
        {"side": side, "score": score}
        for side, score in (("auto", 1.0), ("loop", 1.02), ("flax", 1.08), ("optuna", 1.09))
    ]
    assert sweep.disagreeing(rows) == ["loop"]
    assert sweep.disagreeing([{"side": "commands", "score": None}]) == []


def test_a_picture_has_a_panel_for_each(tmp_path):
    panels = [Bars(str(n), "ms", {"here": [1.0, 2.0], "torch": [300.0]}, ("here",), log=n > 1) for n in range(3)]
    panels.append(Lines("growth", "steps", "MiB", {"here": [(0, 1.0), (1, 2.0)]}))
    write(tmp_path, "name", {"rows": 1}, panels)
    assert (tmp_path / "name.json").read_text() == '{\n  "rows": 1\n}\n'
    from matplotlib.image import imread

    height, width, _ = imread(tmp_path / "name.png").shape
    assert (height, width) == (2 * 348, 2 * 528)  # four panels in two rows of two, of 2.9 x 4.4 inches


def test_both_ways_of_decoding_write_what_a_plain_loop_does():
    model = decode.model_of(3).clone(layers=1, width=8, heads=2, vocabulary=11)
    first = np.array([3, 5, 2, 7, 1], np.int32)
    variables = jax.jit(model.init)(jax.random.key(1), first[:, None])
    text = first[:, None]
    for _ in range(3):
        following = np.asarray(jax.jit(model.apply)(variables, text))[:, -1].argmax(axis=-1)
        text = np.concatenate([text, following[:, None].astype(np.int32)], axis=1)
    assert (text[:, 1:] != text[:, :-1]).any()
    for side, write_text in decode.writers(model).items():
        np.testing.assert_array_equal(jax.jit(write_text)(variables, first), text[:, 1:], err_msg=side)


def test_the_other_library_is_given_the_same_network_and_data(tmp_path):
    experiment = sweep.FAMILIES["lstm"].experiment
    recipe, data = sweep.for_peer(experiment, sweep.sweep(experiment, 8), tmp_path)
    arrays = np.load(data)
    raw = experiment.data.open("train").arrays()
    np.testing.assert_allclose(arrays["train/features"], experiment.data.preprocess(raw)["features"])
    np.testing.assert_array_equal(arrays["train/lengths"], raw["lengths"])
    assert '"hidden": 32, "channels": 12, "classes": 9' in Path(recipe).read_text()


@pytest.mark.parametrize("name", sweep.FAMILIES)
def test_the_plain_flax_loop_has_as_many_parameters(name):
    experiment = sweep.FAMILIES[name].experiment
    recipe = dict(zip(("family", "network"), sweep.counterpart(experiment), strict=True))
    stored = {
        entry: jax.ShapeDtypeStruct((3, *spec.shape), spec.dtype) for entry, spec in experiment.data.spec().items()
    }

    def begin(examples):
        batch = flax_sweep.prepared(recipe, examples)
        return flax_sweep.initial(flax_sweep.network_of(recipe), jax.random.key(0), batch)

    found = sum(leaf.size for leaf in jax.tree.leaves(jax.eval_shape(begin, stored)))
    assert found == count_parameters(abstract_state(experiment))


def test_the_plain_flax_loop_has_the_same_transformer_and_loss():
    experiment = replace(
        sweep.FAMILIES["transformer"].experiment,
        {"model.vocabulary": 11, "model.width": 6, "data.tokenizer.vocabulary_size": 11, "data.length": 5},
    )
    names = {"Embed_0": "embedding.tokens", "LayerNorm_4": "decoder.norm"}
    for i in range(experiment.model.layers):
        layer, attention = f"decoder.layer_{i}", f"MultiHeadDotProductAttention_{i}"
        names |= {f"{attention}.{part}": f"{layer}.attention.{part}" for part in ("query", "key", "value")}
        names |= {f"{attention}.out": f"{layer}.attention.output"}
        for kind, parts in (("LayerNorm", ("attention_norm", "feed_forward_norm")), ("Dense", ("hidden", "output"))):
            inside = "feed_forward." if kind == "Dense" else ""
            names |= {f"{kind}_{2 * i + j}": f"{layer}.{inside}{part}" for j, part in enumerate(parts)}

    rng = np.random.default_rng(0)
    stored = {"tokens": rng.integers(0, 11, (3, 10)), "count": np.array([10, 3, 2])}  # the last two end early
    stored = jax.tree.map(jnp.asarray, stored)
    recipe = dict(zip(("family", "network"), sweep.counterpart(experiment), strict=True))
    network, theirs = flax_sweep.network_of(recipe), flax_sweep.prepared(recipe, stored)
    ours = experiment.data.preprocess({**stored, "sizes": jnp.ones_like(stored["tokens"])})
    shapes = jax.eval_shape(experiment.model.init, jax.random.key(0), experiment.task.inputs(experiment.model, ours))[
        "params"
    ]
    params = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape), jnp.float32), shapes)
    flat = flatten_dict(params, sep=".")
    carried = {}
    wanted = flatten_dict(jax.eval_shape(network.init, jax.random.key(0), theirs)["params"], sep=".")
    for name, leaf in wanted.items():
        layer, _, entry = name.rpartition(".")
        carried[name] = flat.pop(f"{names[layer]}.{entry}").reshape(leaf.shape)
    assert not flat

    logits = jax.jit(network.apply)({"params": unflatten_dict(carried, sep=".")}, theirs)
    expected = jax.jit(experiment.model.apply)({"params": params}, experiment.task.inputs(experiment.model, ours))
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)
    loss = experiment.task.summarize(jax.device_get(experiment.task.measure(expected, ours)))["loss"]
    assert float(flax_sweep.cross_entropy(logits, theirs["label"])) == pytest.approx(loss, rel=1e-4)
