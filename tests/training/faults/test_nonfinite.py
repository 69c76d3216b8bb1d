"""Numbers that are not finite: found, named, never saved; and left out or tried again where that is asked for."""

import dataclasses
import json
import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from research.ablation.execution.running import for_trials
from research.data import Batches, TrainingOrder, indices_at
from research.devices import ONE_DEVICE, compile_for
from research.errors import UsageError
from research.experiment import RunOptions, fingerprint, replace, split
from research.models import MLP
from research.tasks import Classification
from research.training import Diverged, Interrupted, init, run, stepping, train, train_step
from research.training.faults.nonfinite import NonFiniteMonitor, NotFinite, first_not_finite
from research.training.initialization.start import first_state
from research.training.stepping import compiled_train_step
from research.training.storage.checkpoints.checkpoint import Checkpoints
from research.training.update.skipping import IN_A_ROW, NONFINITE, TAKEN
from tests.training.faults.poisoned import TRAINING, experiment, lines_of, state_of, updates_with

ROW = 17
FIRST, *LATER = updates_with(ROW)


@pytest.fixture(scope="module")
def options():
    return RunOptions(log_every=1, evaluate_every=5, checkpoint_every=4, pictures=False, progress="none")


@pytest.fixture
def saved(monkeypatch):
    """What is handed over to be saved: kind and step. Fails where it is not finite."""
    steps = []
    save = Checkpoints.save

    def finite(self, kind, state, *arguments):
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(jax.device_get(state)))
        steps.append((kind, int(state.step)))
        return save(self, kind, state, *arguments)

    monkeypatch.setattr(Checkpoints, "save", finite)
    return steps


@pytest.fixture
def poison(monkeypatch):
    """Spoil the batch, or the first floats of a part of the state, once or every time: for the step after `step`."""

    def after(step, part="params", every_time=False):
        compiled, struck = run.compiled_train_step, []

        def poisoned(program, layout, count, reports=True):
            call = compiled(program, layout, count, reports)

            def spoilt(hyperparameters, state, feed, references):
                if int(state.step) <= step < int(state.step) + count and (every_time or not struck):
                    struck.append(step)
                    if part == "batch":
                        feed = {**feed, "features": feed["features"] * np.nan}
                        return call(hyperparameters, state, feed, references)
                    leaves, structure = jax.tree.flatten(getattr(state, part))
                    at = next(index for index, leaf in enumerate(leaves) if leaf.dtype == jnp.float32)
                    leaves[at] = jnp.full_like(leaves[at], jnp.nan)
                    state = state._replace(**{part: jax.tree.unflatten(structure, leaves)})
                return call(hyperparameters, state, feed, references)

            return spoilt

        monkeypatch.setattr(run, "compiled_train_step", poisoned)
        return struck

    return after


def assert_same_run(folder, reference):
    for kind in ("latest", "best"):
        chex.assert_trees_all_equal(state_of(folder, kind), state_of(reference, kind))
    assert (folder / "metrics.jsonl").read_bytes() == (reference / "metrics.jsonl").read_bytes()
    results = [json.loads((path / "result.json").read_text())["metrics"] for path in (folder, reference)]
    assert results[0] == results[1]


def test_the_row_comes_more_than_once():
    assert FIRST > 4 or LATER, "a row that comes late, or again"


@pytest.mark.fault("F21")
def test_stop_names_row_and_step_and_saves_nothing_bad(options, saved, tmp_path):
    before = 4 * ((FIRST - 1) // 4)
    for _ in range(2):  # the same command meets it again
        with pytest.raises(Diverged) as raised:
            train(experiment(nan=(ROW,)), tmp_path, options)
        expected = f'"features" in the batch is not finite at step {FIRST} of 12, row {ROW} of the training split; '
        assert str(raised.value).startswith(expected)
        assert "optimizer.clip_norm or safety.nonfinite skip may help" in str(raised.value)
        assert str(raised.value).endswith(f"checkpoint of step {before}" if before else "nothing is saved yet")
    assert all(step < FIRST for _, step in saved)
    assert not (tmp_path / "result.json").exists()


@pytest.mark.fault("F21")
def test_stop_names_the_step_between_two_reports(options, tmp_path, monkeypatch):
    """Where a step computes no metrics it still says whether the run may continue."""
    monkeypatch.setattr(stepping, "MANY", 1)
    with pytest.raises(Diverged, match=f"is not finite at step {FIRST} of 12, row {ROW} of"):
        train(experiment(nan=(ROW,)), tmp_path, dataclasses.replace(options, log_every=100))


@pytest.mark.fault("F21")
def test_stop_names_the_loss_and_the_rows(options, saved, tmp_path):
    """Parameters of 1e20 overflow in the loss of the second step."""
    far = replace(experiment(), {"optimizer.algorithm": "sgd", "optimizer.learning_rate": 1e20})
    with pytest.raises(Diverged) as raised:
        train(far, tmp_path, options)
    shown = ", ".join(map(str, indices_at(3, 1, 5, TRAINING)))
    assert str(raised.value).startswith(f"the loss is not finite at step 2 of 12, rows {shown} of the training split;")
    assert "nothing is saved yet" in str(raised.value) and not saved


@pytest.mark.fault("F21")
@pytest.mark.parametrize("steps_per_call", [1, 4])
def test_stop_names_the_gradient(steps_per_call, options, saved, tmp_path):
    """The loss is finite; in a call of four steps that of the next one tells, and the step is found all the same."""
    several = dataclasses.replace(options, steps_per_call=steps_per_call, log_every=4, evaluate_every=4)
    rooted = replace(experiment(), {"model.root": True})
    with pytest.raises(Diverged, match=r"^the gradient of root is not finite at step 1 of 12, rows "):
        train(rooted, tmp_path, several)
    assert not saved


@pytest.mark.fault("F21")
def test_a_passing_fault_stops_the_run_which_then_goes_on(options, saved, poison, tmp_path):
    train(experiment(), tmp_path / "calm", options)
    poison(6)
    with pytest.raises(Diverged, match="step 7 of 12 .* it was no fault of the experiment: .* checkpoint of step 4"):
        train(experiment(), tmp_path / "run", options)
    train(experiment(), tmp_path / "run", options)
    assert_same_run(tmp_path / "run", tmp_path / "calm")


@pytest.mark.fault("F21")
def test_statistics_that_no_loss_depends_on_are_not_saved(options, saved, poison, tmp_path):
    poison(6, "variables")
    with pytest.raises(Diverged, match="step 8 of 12 .* no fault of the experiment"):
        train(experiment(), tmp_path, options)
    assert [step for kind, step in saved if kind == "latest"] == [4]


@pytest.mark.fault("F21")
def test_stop_names_a_leaf_that_no_loss_depends_on(options, saved, poison, tmp_path):
    """Found as the state is to be saved, and named with the step at which it comes again."""
    poison(6, "variables", every_time=True)
    rows = ", ".join(map(str, indices_at(3, 6, 5, TRAINING)))
    leaf = r"variables\.batch_stats\.norm\.(mean|var)"
    with pytest.raises(
        Diverged, match=f"^{leaf} is not finite at step 7 of 12, rows {rows} of .* checkpoint of step 4$"
    ):
        train(experiment(), tmp_path, options)
    assert [step for kind, step in saved if kind == "latest"] == [4]


@pytest.fixture(scope="module")
def skipped(options, tmp_path_factory):
    """The folder of a run that leaves out what has the row."""
    folder = tmp_path_factory.mktemp("skipped") / "run"
    train(experiment(nan=(ROW,), nonfinite="skip"), folder, options)
    return folder


@pytest.mark.fault("F21")
def test_skip_is_a_loop_that_leaves_the_update_out(skipped):
    """Bit for bit: parameters, batch statistics, moments and their count, moving average."""
    value = experiment(nan=(ROW,), nonfinite="skip")
    program, hyperparameters = split(value)
    step, state = compiled_train_step(program, ONE_DEVICE), first_state(value, skipped, RunOptions())
    batches = Batches(value.data.open("train"), 5, value.seed)
    for index in range(12):
        if index + 1 in (FIRST, *LATER):
            state = state._replace(step=state.step + 1)
        else:
            state, _ = step(hyperparameters, state, batches.input_at(index))
    found = state_of(skipped)
    count = len(LATER) + 1
    assert found.skipped.tolist() == [count, int(12 in LATER)]
    chex.assert_trees_all_equal(found._replace(skipped=None), jax.device_get(state)._replace(skipped=None))
    totals = [line["skipped"] for line in lines_of(skipped)]
    assert totals == [sum(at <= update for at in (FIRST, *LATER)) for update in range(1, 13)]


@pytest.mark.fault("F21")
def test_skip_says_which_and_a_run_that_stops_counts_nothing(options, tmp_path, capsys):
    train(experiment(nan=(ROW,), nonfinite="skip"), tmp_path / "skip", dataclasses.replace(options, progress="lines"))
    said = [line for line in capsys.readouterr().out.splitlines() if "left out" in line]
    assert len(said) == len(LATER) + 1
    rows = ", ".join(map(str, indices_at(3, FIRST - 1, 5, TRAINING)))
    assert said[0] == (
        f"step {FIRST} is left out: its loss or gradient is not finite; rows {rows} of the training split"
    )
    train(experiment(), tmp_path / "stop", options)
    assert "skipped" not in lines_of(tmp_path / "stop")[0] and state_of(tmp_path / "stop").skipped is None


@pytest.mark.fault("F21")
def test_skip_leaves_other_runs_of_a_group_alone():
    value = experiment(nonfinite="skip")
    program, hyperparameters = split(value)
    records = value.data.open("train").arrays()
    good = {name: np.stack([column[:5], column[5:10], column[10:15]]) for name, column in records.items()}
    bad = {**good, "features": good["features"].copy()}
    bad["features"][1, 0, 0] = np.inf
    states = jax.tree.map(lambda *leaves: jnp.stack(leaves), *[init(value, jax.random.key(seed)) for seed in range(3)])
    step = jax.jit(jax.vmap(lambda state, batch: train_step(program, hyperparameters, state, batch)))
    (expected, _), (found, metrics) = step(states, good), step(states, bad)
    for index in (0, 2):
        chex.assert_trees_all_equal(*(jax.tree.map(lambda x, i=index: x[i], tree) for tree in (found, expected)))
    unchanged = jax.tree.map(lambda x: x[1], states)._replace(step=jnp.int32(1), skipped=jnp.array([1, 1]))
    chex.assert_trees_all_equal(jax.tree.map(lambda x: x[1], found), unchanged)
    assert metrics["fault"].tolist() == [0, 2, 0]


@pytest.mark.fault("F21")
@pytest.mark.parametrize(
    ("step", "part"), [(2, "params"), (6, "params"), (7, "opt_state"), (7, "variables"), (7, "batch")]
)
def test_rewind_heals_a_spoilt_state(step, part, options, saved, poison, tmp_path):
    value, options = experiment(nonfinite="rewind"), dataclasses.replace(options, residency="ram")
    train(value, tmp_path / "calm", options)
    struck = poison(step, part)
    train(value, tmp_path / "run", options)
    assert struck == [step]
    assert_same_run(tmp_path / "run", tmp_path / "calm")
    assert state_of(tmp_path / "run").skipped.tolist() == [0, 0]


@pytest.mark.fault("F21")
@pytest.mark.parametrize("checkpoint_every", [1, 4, 100])
def test_rewind_skips_what_comes_again(checkpoint_every, options, saved, skipped, tmp_path):
    chosen = dataclasses.replace(options, checkpoint_every=checkpoint_every)
    train(experiment(nan=(ROW,), nonfinite="rewind"), tmp_path, chosen)
    assert_same_run(tmp_path, skipped)


@pytest.mark.fault("F21")
def test_several_steps_in_a_call(options, saved, skipped, tmp_path, capsys):
    several = dataclasses.replace(options, steps_per_call=3, log_every=3, evaluate_every=6, checkpoint_every=6)
    several = dataclasses.replace(several, progress="lines")
    for policy in ("skip", "rewind"):
        train(experiment(nan=(ROW,), nonfinite=policy), tmp_path / policy, several)
        said = [line for line in capsys.readouterr().out.splitlines() if "left out" in line]
        assert sorted({int(line.split()[1]) for line in said}) == [FIRST, *LATER]
    assert_same_run(tmp_path / "rewind", tmp_path / "skip")
    chex.assert_trees_all_close(state_of(tmp_path / "skip"), state_of(skipped), rtol=1e-4, atol=1e-6)


@pytest.mark.fault("F21")
@pytest.mark.parametrize("policy", ["skip", "rewind"])
def test_more_than_ten_in_a_row_end_the_run(policy, options, saved, tmp_path, capsys):
    hopeless = experiment(nan=tuple(range(TRAINING)), nonfinite=policy)
    with pytest.raises(Diverged, match='"features" in the batch is not finite at step 11 of 12, rows ') as raised:
        train(hopeless, tmp_path, dataclasses.replace(options, progress="lines"))
    assert str(raised.value).endswith(
        "; a lower optimizer.learning_rate or a smaller optimizer.clip_norm may help, "
        "and the same command resumes from the checkpoint of step 8"
    )
    last = {line for line in capsys.readouterr().out.splitlines() if "is left out" in line}
    assert len(last) == IN_A_ROW == 10
    with pytest.raises(Diverged, match="step 11"):  # counted on where it was interrupted
        train(hopeless, tmp_path, options)


@pytest.mark.fault("F21")
def test_interrupted_after_every_step(options, skipped, tmp_path):
    for k in range(1, 12):
        with pytest.raises(Interrupted):
            train(experiment(nan=(ROW,), nonfinite="skip"), tmp_path, dataclasses.replace(options, stop_after=k))
    train(experiment(nan=(ROW,), nonfinite="skip"), tmp_path, options)
    assert_same_run(tmp_path, skipped)


@pytest.mark.fault("F7", "F21")
def test_what_was_left_out_in_a_row_is_counted_on(options, tmp_path):
    """Where the interruption comes between two of them."""
    value = experiment(nan=tuple(range(TRAINING)), nonfinite="skip", steps=9)
    with pytest.raises(Interrupted):
        train(value, tmp_path, dataclasses.replace(options, stop_after=5))
    train(value, tmp_path, options)
    assert state_of(tmp_path).skipped.tolist() == [9, 9]


@pytest.mark.fault("F21")
def test_accumulated_and_left_out(options, saved, tmp_path):
    """One part of four is spoilt: the statistics of the parts before it are those of before the update as well."""
    value = replace(experiment(nan=(ROW,), nonfinite="skip"), {"batch_size": 8, "accumulation": 4, "steps": 1})
    step = next(step for step in range(9) if ROW in indices_at(3, step, 8, TRAINING))
    state = init(value, jax.random.key(3))._replace(step=jnp.int32(step))
    program, hyperparameters = split(value)
    after, metrics = compile_for(train_step, program)(
        hyperparameters, state, Batches(value.data.open("train"), 8, 3).input_at(step)
    )
    assert metrics["fault"] == 2
    chex.assert_trees_all_equal(after, state._replace(step=jnp.int32(step + 1), skipped=jnp.array([1, 1])))


@pytest.mark.fault("F21")
def test_trials_of_a_study_go_on(options, tmp_path):
    chosen, _ = for_trials(options, "loop")
    for policy in ("stop", "rewind"):
        result = train(experiment(nan=(ROW,), nonfinite=policy), tmp_path / policy, chosen)
        assert math.isnan(result.metrics["test"]["loss"]) == (policy == "stop")


@pytest.mark.fault("F22")
def test_an_evaluation_that_is_not_finite_is_said_and_never_best(options, saved, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(Classification, "monitor", "loss")
    monkeypatch.setattr(Classification, "maximize", False)
    value = experiment(nan_in_validation=True)
    result = train(value, tmp_path, dataclasses.replace(options, progress="lines"))
    assert math.isnan(result.metrics["validation"]["loss"]) and math.isfinite(result.metrics["test"]["loss"])
    assert "validation at step 5: loss not finite, so never best; continuing" in capsys.readouterr().out
    assert [step for _, step in saved] == [4, 8, 12] and {kind for kind, _ in saved} == {"latest"}


@pytest.mark.fault("F24")
def test_bfloat16_resumes_exactly_and_float16_is_refused(options, tmp_path):
    value = replace(experiment(), {"model": MLP(hidden=(5,), classes=3, dropout=0.2, dtype="bfloat16")})
    train(value, tmp_path / "whole", options)
    for k in (3, 6, 10):
        with pytest.raises(Interrupted):
            train(value, tmp_path / "parts", dataclasses.replace(options, stop_after=k))
    train(value, tmp_path / "parts", options)
    assert_same_run(tmp_path / "parts", tmp_path / "whole")
    with pytest.raises(UsageError, match='model.dtype must be "float32" or "bfloat16", not \'float16\''):
        replace(value, {"model.dtype": "float16"})


def test_the_default_is_in_no_fingerprint():
    value = experiment()
    assert fingerprint(value) == fingerprint(experiment(nonfinite="stop", spike=0.0))
    assert len({fingerprint(experiment(nonfinite=policy)) for policy in ("stop", "skip", "rewind")}) == 3


def test_the_first_leaf_that_is_not_finite():
    state = jax.device_get(init(experiment(), jax.random.key(0)))
    assert first_not_finite(state) is None
    bad = state._replace(variables=jax.tree.map(lambda x: np.full_like(x, np.inf), state.variables))
    assert first_not_finite(bad) == "variables.batch_stats.norm.mean"


@pytest.mark.fault("F21")
def test_stop_names_the_norm_of_the_gradient(options, saved, tmp_path):
    """All of the gradient is finite, the sum of its squares is not: it comes again however often it is repeated."""
    value = replace(experiment(), {"model": MLP(hidden=(5, 5, 5), classes=3)})
    far = replace(value, {"optimizer.algorithm": "sgd", "optimizer.learning_rate": 1e10})
    with pytest.raises(Diverged, match=r"^the norm of the gradient is not finite at step 2 of 12, rows "):
        train(far, tmp_path, options)
    assert not saved


@pytest.mark.fault("F21")
def test_a_row_begins_anew_after_an_update_that_is_taken():
    said = []
    value = experiment(nonfinite="skip")
    order = TrainingOrder(value.data, value.data.open("train"), value.batch_size, value.seed)
    sentry = NonFiniteMonitor(value, order, said.append)
    row = [NONFINITE] * IN_A_ROW
    sentry.look(0, np.array([*row, TAKEN, *row]))
    assert len(said) == 2 * IN_A_ROW and said[-1].startswith(f"step {2 * IN_A_ROW + 1} is left out: ")
    with pytest.raises(NotFinite, match=f"at step {2 * IN_A_ROW + 2}$"):
        sentry.look(2 * IN_A_ROW + 1, np.array([NONFINITE]))
