"""What a sweep costs: `ablate` beside plain loops, a process a trial, and Optuna with PyTorch.

    python -m benchmarks.sweep [--peer PYTHON] [--family mlp cnn lstm transformer] [--trials N] [--rounds 3]

The trials of a family have one program and differ in learning rate and seed. Sides, each in a process of its own and so
with all its imports and compilation, in turn, in every second round backwards:

auto        `ablate` as it is called without saying how: as many processes as fit share the trials; they measure,
            choose, and write a run folder a trial
loop, vmap, map
            `ablate` in one process and told how
plain       a loop over the trials that calls one compiled step and evaluates at the end as `ablate` does; no folders
flax        the same loop as its users write it with Flax and Optax, without this library: the same network and data
commands    `train` once a trial, a process each; a few are measured, and multiplied
optuna      Optuna with a PyTorch training loop, the same network, data, batch size, steps and optimizer; PyTorch need
            not be installed beside JAX: --peer, or CETERIS_PEER, is a Python with both

Programs and memory are kept in all processes of this library as its command line keeps them, the programs in a folder
that one call of each side, which does not count, has filled; those of flax are kept there too, its memory is not.

Three times are measured: of the call, once everything is imported; of the whole command; and its processor time, which
suffers less from what else the machine does. `x auto` is the median over rounds of a side's time over that of `auto`
in the same round. All sides evaluate at the end and never in between: those of this library the validation and the test
split, the others the first; the command fails if scores, means over trials, are further apart than random numbers
explain, for then they did not do the same work. The folder of --output holds what was measured so far, also while more
is.
"""

import argparse
import dataclasses
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks.drawing import Bars
from benchmarks.machine import heading, machine
from benchmarks.tables import compare, in_turn
from benchmarks.writing import PEERS, add_peer, parser_of, say_where, without_peer, write
from research.ablation import Study, Trial, ablate, final_seeds, plan, trials
from research.ablation.execution.engines.workers import fitting, processes
from research.ablation.execution.group_training import FINAL
from research.ablation.execution.modes.choosing import Execution, read_choice
from research.ablation.store.study_folder import Store
from research.cli import main as command_line
from research.data import Batches, Images, Sequences, Text, Trained
from research.devices import compile_for, keep_programs_and_memory
from research.experiment import Experiment, RunOptions, replace, split
from research.models import CNN, MLP, RecurrentClassifier, TransformerLanguageModel
from research.optimization import Optimizer
from research.tasks import Classification, LanguageModeling
from research.training.evaluation import evaluation_sums
from research.training.loop import open_splits
from research.training.storage.environment import device
from research.training.update.shapes import abstract_state
from research.training.update.state import count_parameters
from research.training.update.step import init_state, train_step

SEEDS = 4
SIDES = ("auto", "loop", "vmap", "map", "plain", "flax", "commands", "optuna")
OTHERS = ("flax", "optuna")  # sides that do without this library
TIMES = ("call", "command", "processor")
TOLERANCE, TOLERANCE_OF_PEERS = 0.01, 0.1  # of scores: the same random numbers, and others
SIDE = 8  # of a digit, in pixels
DIGITS = Images("digits", mean=(0.304,), std=(0.376,))
OPTIONS = RunOptions(progress="none", evaluate_every=0)
OPTIMIZER = Optimizer("adam", learning_rate=1e-2, schedule="constant")


@dataclasses.dataclass(frozen=True)
class Family:
    """An experiment, and how many trials of it make a sweep."""

    experiment: Experiment
    trials: int


FAMILIES = {
    "small_mlp": Family(Experiment(MLP((32,)), Classification(), DIGITS, OPTIMIZER, steps=5000, batch_size=16), 32),
    "mlp": Family(Experiment(MLP((64, 64)), Classification(), DIGITS, OPTIMIZER, steps=5000, batch_size=32), 32),
    "cnn": Family(
        Experiment(CNN(channels=(16, 32), dense=(64,)), Classification(), DIGITS, OPTIMIZER, steps=1000, batch_size=64),
        16,
    ),
    "lstm": Family(
        Experiment(
            RecurrentClassifier(hidden=32, classes=9),
            Classification(),
            Sequences(),
            OPTIMIZER,
            steps=1000,
            batch_size=32,
        ),
        16,
    ),
    "transformer": Family(
        Experiment(
            TransformerLanguageModel(vocabulary=112, layers=2, width=64, heads=2, max_length=32),
            LanguageModeling(),
            Text("pydoc_topics", tokenizer=Trained("characters", 112), length=32),
            OPTIMIZER,
            steps=500,
            batch_size=16,
        ),
        16,
    ),
}


def learning_rates(experiment: Experiment, n: int) -> list[float]:
    """Return those of `n` trials, the experiment's own first, then down to a hundredth of it."""
    rate = experiment.optimizer.learning_rate
    return [rate, *np.geomspace(rate, rate / 100, n // SEEDS)[1:].tolist()]


def sweep(experiment: Experiment, n: int) -> Study:
    """Return the study that asks for `n` trials."""
    cells = tuple({"optimizer.learning_rate": rate} for rate in learning_rates(experiment, n)[1:])
    return Study(cells, seeds=SEEDS, split="validation")


def planned(experiment: Experiment, study: Study) -> tuple[Trial, ...]:
    """Return the trials of a study."""
    return trials(plan(experiment, study), final_seeds(experiment, study))


def ablated(experiment: Experiment, study: Study, execution: Execution, folder: str, workers: int) -> dict[str, Any]:
    """Run a sweep with `ablate`; return its score, how trials were run, and the seconds of all by phase."""
    start = time.perf_counter()
    Store.open(folder, experiment, study)
    with processes([sys.executable, *sys.orig_argv[1:], "--worker"], workers):
        store = ablate(experiment, study, folder, OPTIONS, execution, wait=True, workers=workers)
    seconds = time.perf_counter() - start
    outcomes = store.outcomes()
    (file,) = Path(folder).glob("groups/*/execution.json")
    placement = read_choice(file)
    assert all(outcome.status == "done" for outcome in outcomes), [outcome.error for outcome in outcomes]
    scores = [outcome.metrics["validation"][store.goal.metric] for outcome in outcomes]
    phases = {name: sum(outcome.seconds[name] for outcome in outcomes) for name in outcomes[0].seconds}
    mode = placement.mode if placement.size == 1 else f"{placement.mode}, {placement.size} at a time"
    if placement.steps_per_call > 1:
        mode += f", {placement.steps_per_call} steps a call"
    if workers > 1:
        mode += f", {workers} processes"
    return {
        "seconds": seconds,
        "score": statistics.mean(scores),
        "trials": len(outcomes),
        "mode": mode,
        "phases": phases,
    }


def looped(experiment: Experiment, study: Study) -> dict[str, Any]:
    """Run a sweep as a plain loop; return its score."""
    start = time.perf_counter()
    records, scores = open_splits(experiment, RunOptions()), []
    for trial in planned(experiment, study):
        program, hyperparameters = split(trial.experiment)
        hyperparameters = jax.device_put(hyperparameters)
        step, state = (
            compile_for(train_step, program, donate_state=True),
            compile_for(init_state, program)(hyperparameters),
        )
        batches = Batches(records["train"], experiment.batch_size, trial.seed)
        for index in range(experiment.steps):
            state, _ = step(hyperparameters, state, batches.input_at(index))
        metrics = {
            name: experiment.task.summarize(evaluation_sums(trial.experiment, state, records[name])) for name in FINAL
        }
        scores.append(metrics["validation"][experiment.task.monitor])
    return {"seconds": time.perf_counter() - start, "score": statistics.mean(scores), "trials": len(scores)}


def alone(side: str, experiment: Experiment, study: Study, folder: str, worker: bool) -> None:
    """Run one side in this process and print what it came to as a line of JSON; as a `worker` share in it instead."""
    keep_programs_and_memory()
    if worker:
        ablate(experiment, study, folder, OPTIONS, "auto")
        return
    if side == "plain":
        found = looped(experiment, study)
    else:
        workers = fitting(len(planned(experiment, study))) if side == "auto" else 1
        found = ablated(experiment, study, side, folder, workers)  # type: ignore[arg-type]
    print(json.dumps({**found, "device": device()}))


def measured(
    side: str, family: str, experiment: Experiment, study: Study, arguments: argparse.Namespace
) -> dict[str, Any]:
    """Run one side in processes of its own; return the seconds of its call and of its command, and what it printed."""
    here = [sys.executable, "-m", "benchmarks.sweep", "--family", family, "--steps", str(experiment.steps)]
    n = len(planned(experiment, study))
    with tempfile.TemporaryDirectory() as folder:
        if side == "commands":
            return of_commands(here, folder, planned(experiment, study), arguments.commands)
        if side in OTHERS:
            python = arguments.peer if side == "optuna" else sys.executable
            here = [python, str(PEERS / f"{side}_sweep.py"), *for_peer(experiment, study, Path(folder))]
        else:
            here += ["--trials", str(n), "--side", side, "--folder", folder]
        times, printed = timed(here)
    found = json.loads(printed.splitlines()[-1])
    assert found["trials"] == n, f"{side} ran {found['trials']} of {n} trials"
    if side in OTHERS:
        ours = count_parameters(abstract_state(experiment))
        most = 1.03 * ours if side == "optuna" else ours  # PyTorch's LSTM has two biases where one would do
        assert ours <= found["parameters"] <= most, f"{side} has {found['parameters']} parameters, not {ours}"
    return {"call": found.pop("seconds"), **times, **found}


def of_commands(here: list[str], folder: str, all_trials: Sequence[Trial], commands: int) -> dict[str, Any]:
    """Train a few trials spread over the sweep by a command each; return the seconds that all would take."""
    few = [all_trials[index] for index in np.linspace(0, len(all_trials) - 1, commands).astype(int)]
    each: list[dict[str, float]] = []
    for trial in few:
        rate, workdir = trial.experiment.optimizer.learning_rate, f"{folder}/{len(each)}"
        flags = ["--optimizer.learning_rate", repr(rate), "--seed", str(trial.seed), "--workdir", workdir]
        flags += ["--evaluate_every", "0", "--progress", "none"]
        each.append(timed([*here, "--side", "commands", "train", *flags])[0])
    scaled = {name: statistics.mean(times[name] for times in each) * len(all_trials) for name in each[0]}
    return {**scaled, "measured": each}


def for_peer(experiment: Experiment, study: Study, folder: Path) -> list[str]:
    """Write the experiment for a side without this library; return the paths of the recipe and the data."""
    (family, network), data, arrays = counterpart(experiment), experiment.data, {}
    for name in ("train", "validation"):
        records = data.open(name).arrays()
        # A window of text begins anywhere in a longer one, so that is what the other side is given.
        entries = records if family == "transformer" else data.preprocess(records)
        arrays |= {f"{name}/{entry}": np.asarray(array) for entry, array in entries.items() if entry != "sizes"}
    arrays = {
        name: array.astype(np.int64) if np.issubdtype(array.dtype, np.integer) else array
        for name, array in arrays.items()
    }
    found = planned(experiment, study)
    recipe = {
        "family": family,
        "network": network,
        "metric": experiment.task.monitor,
        "steps": experiment.steps,
        "batch_size": experiment.batch_size,
        "learning_rates": list(dict.fromkeys(trial.experiment.optimizer.learning_rate for trial in found)),
        "seeds": list(dict.fromkeys(trial.seed for trial in found)),
    }
    (folder / "recipe.json").write_text(json.dumps(recipe))
    np.savez(folder / "data.npz", **arrays)
    return [str(folder / "recipe.json"), str(folder / "data.npz")]


def counterpart(experiment: Experiment) -> tuple[str, dict[str, Any]]:
    """Return what the other side calls the network, and with which arguments it makes the same one."""
    data, model = experiment.data, experiment.model
    match model:
        case MLP():
            return "mlp", {"hidden": model.hidden, "pixels": SIDE**2, "classes": model.classes}
        case CNN():
            return "cnn", {"channels": model.channels, "dense": model.dense, "side": SIDE, "classes": model.classes}
        case RecurrentClassifier():
            return "lstm", {"hidden": model.hidden, "channels": data.channels, "classes": model.classes}
        case TransformerLanguageModel():
            names = ("vocabulary", "layers", "width", "heads")
            return "transformer", {**{name: getattr(model, name) for name in names}, "length": data.length}
    raise AssertionError(f"{type(model).__name__} has no counterpart")


def timed(command: list[str]) -> tuple[dict[str, float], str]:
    """Return wall and processor time of a command, and what it printed."""
    start, before = time.perf_counter(), os.times()
    printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    wall, after = time.perf_counter() - start, os.times()
    processor = after.children_user + after.children_system - before.children_user - before.children_system
    return {"command": wall, "processor": processor}, printed


def table(rounds: Sequence[dict[str, dict[str, Any]]]) -> list[dict[str, Any]]:
    """Return a row a side: least and median seconds of each kind, and how many times those of auto."""
    rows = {
        side: {"side": side, **{key: rounds[-1][side].get(key) for key in ("score", "mode", "phases")}}
        for side in rounds[0]
    }
    for name in TIMES:
        turns = {side: [[found[side][name]] for found in rounds] for side in rows if name in rounds[0][side]}
        for side, compared in compare(turns, reference="auto").items():
            rows[side][name] = compared
    for side, row in rows.items():
        row["modes"] = sorted({found[side]["mode"] for found in rounds if "mode" in found[side]})
    return list(rows.values())


def disagreeing(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Return the sides whose score is not that of the first one."""
    scores = {row["side"]: row["score"] for row in rows if row["score"] is not None}
    tolerances = {side: TOLERANCE_OF_PEERS if side in OTHERS else TOLERANCE for side in scores}
    return [
        side
        for side, score in scores.items()
        if not math.isclose(score, next(iter(scores.values())), rel_tol=tolerances[side])
    ]


def show(rows: Sequence[dict[str, Any]]) -> None:
    """Print the rows of a family."""
    print(" ".join([f"{'':>10}", *(f"{name + ' min':>14} {'median':>8} {'x auto':>7}" for name in TIMES)]) + "  score")
    for row in rows:
        cells = [f"{row['side']:>10}"]
        for name in TIMES:
            times = row.get(name, {})
            for key, width in (("min", 14), ("median", 8), ("ratio", 7)):
                cells.append(f"{times[key]:>{width}.2f}" if key in times else " " * width)
        score = "" if row["score"] is None else f"{row['score']:.4f}"
        print(" ".join(cells) + f"  {score}  {' or '.join(row['modes'])}".rstrip())


def panels(families: dict[str, Any]) -> list[Bars]:
    """Return a panel a family: seconds of every side's command, with the range over rounds."""
    return [
        Bars(
            f"{name}, {family['trials']} trials of {family['steps']} steps",
            "seconds of the whole command",
            {row["side"]: [found[row["side"]]["command"] for found in family["rounds"]] for row in family["table"]},
            ours=("auto",),
            log=True,
        )
        for name, family in families.items()
    ]


def main() -> None:
    """Measure in turn, print a table a family and write both files."""
    parser = parser_of(__doc__, "sweep")
    add_peer(parser, "torch", "optuna")
    parser.add_argument("--family", nargs="+", choices=FAMILIES, default=list(FAMILIES))
    parser.add_argument("--trials", type=int, help=f"a multiple of {SEEDS}; default: 32 of each MLP, 16 of the others")
    parser.add_argument("--steps", type=int, help="of a trial; default: the experiment's")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--commands", type=int, default=3, help="train commands to measure in each round")
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES))
    parser.add_argument("--side", choices=SIDES, help="run this side alone, in this process")
    parser.add_argument("--worker", action="store_true", help="share in it")
    parser.add_argument("--folder", help="where that side writes its runs")
    arguments, flags = parser.parse_known_args()
    chosen = {}
    for name in arguments.family:
        experiment, n = FAMILIES[name].experiment, arguments.trials or FAMILIES[name].trials
        if n % SEEDS:
            parser.error(f"--trials must be a multiple of {SEEDS}, the seeds of each learning rate")
        chosen[name] = replace(experiment, {"steps": arguments.steps or experiment.steps}), sweep(experiment, n)
    if arguments.side is not None:
        ((experiment, study),) = chosen.values()
        if arguments.side == "commands":
            command_line(experiment, smoke={}, file=__file__, doc=__doc__, arguments=flags)
        return alone(arguments.side, experiment, study, arguments.folder, arguments.worker)
    if flags:
        parser.error(f"unknown arguments: {' '.join(flags)}")
    with tempfile.TemporaryDirectory() as programs:
        os.environ["JAX_COMPILATION_CACHE_DIR"] = programs
        measure(chosen, arguments)


def measure(chosen: dict[str, tuple[Experiment, Study]], arguments: argparse.Namespace) -> None:
    """Measure all sides of the chosen families; print and write what was found."""
    all_sides = [side for side in arguments.sides if side != "optuna" or arguments.peer]
    if all_sides != arguments.sides:
        without_peer("Optuna with PyTorch")
    on, families = machine(), dict[str, Any]()
    print(heading(on))
    wrong = []
    for name, (experiment, study) in chosen.items():
        n, rounds, loads = len(planned(experiment, study)), list[dict[str, Any]](), []
        for side in (side for side in all_sides if side != "optuna"):
            found = measured(side, name, experiment, study, arguments)
            print(f"{name}, before, {side}: {found['command']:.1f} s", file=sys.stderr, flush=True)
        for index, side in in_turn(all_sides, arguments.rounds):
            if index == len(rounds):
                loads.append(os.getloadavg()[0])
                rounds.append({})
            rounds[index][side] = measured(side, name, experiment, study, arguments)
            print(f"{name}, round {index}, {side}: {rounds[index][side]['command']:.1f} s", file=sys.stderr, flush=True)
            if len(rounds[index]) == len(all_sides):
                rows = table([{side: found[side] for side in all_sides} for found in rounds])
                found = {"trials": n, "steps": experiment.steps, "load": loads, "table": rows, "rounds": rounds}
                families[name] = found
                write(arguments.output, "sweep", {"machine": on, "families": families}, panels(families))
        print(f"\n{name}: {n} trials of {experiment.steps} steps, {len(rounds)} rounds", end="; ")
        print(f"load average at their start {', '.join(f'{load:.1f}' for load in loads)}")
        show(rows)
        if "commands" in all_sides:
            print(f"commands: {arguments.commands} measured in each round, their mean times {n}")
        for side in (side for side in all_sides if side in OTHERS):
            print(f"{side}: {', '.join(' '.join(pair) for pair in rounds[0][side]['versions'].items())}")
        wrong += [f"{side} of {name}" for side in disagreeing(rows)]
    say_where(arguments.output, "sweep")
    if wrong:
        raise SystemExit(
            f"not the same work, their scores are too far from those of the first side: {', '.join(wrong)}"
        )


if __name__ == "__main__":
    main()
