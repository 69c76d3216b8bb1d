"""Starting from the parameters of other runs, and of files."""

import collections
from pathlib import Path
from typing import Any

import flax
import jax

from research.devices import ONE_DEVICE, Layout, compile_for
from research.errors import UsageError
from research.experiment import Experiment, Pretrained, RunOptions, Start, fingerprint, split
from research.optimization.paths import check_path, flat, source_of, under
from research.training.initialization.pretrained import compare_activation, compare_configuration, take_pretrained
from research.training.storage.checkpoints.restoration import restore
from research.training.update.shapes import Shapes
from research.training.update.state import TrainState
from research.training.update.step import init_state


def start_folder(experiment: Experiment, root: Path, options: RunOptions) -> Path:
    """Return the folder of a run that is trained before another; those that share `options.start_dir` share it."""
    return Path(options.start_dir or root / "start") / f"{fingerprint(experiment)}-seed{experiment.seed}"


def runs_before(experiment: Experiment) -> tuple[Experiment, ...]:
    """Return the runs that have to be trained first: those that this one starts from, and its references."""
    starts = (start.experiment for start in experiment.start if isinstance(start, Start))
    return tuple(dict.fromkeys((*starts, *(source for _, source in experiment.references))))


def first_state(experiment: Experiment, root: Path, options: RunOptions, layout: Layout = ONE_DEVICE) -> TrainState:
    """Return the state before the first step: a new one, with what `experiment.start` brings."""
    program, hyperparameters = split(experiment)
    state = compile_for(init_state, program, layout, out_shardings="state", once=True)(hyperparameters)
    return layout.put(graft(experiment, state, root, options)) if experiment.start else state


def graft(experiment: Experiment, state: TrainState, root: Path, options: RunOptions) -> TrainState:
    """Return a new state with what `experiment.start` names taken from finished runs and from files."""
    check_tokens(experiment, state.params, options)
    found = {"params": state.params, **state.variables}
    for index, start in enumerate(experiment.start):
        if isinstance(start, Pretrained):
            compare_activation(start, experiment.model)
            compare_configuration(start, experiment.model)
            found = take_pretrained(start, experiment.model, found, f"start.{index}")
            found = jax.tree.map(jax.numpy.asarray, found)
        else:
            _, trained = restore(start_folder(start.experiment, root, options))
            found = _select(found, {"params": trained.evaluated, **trained.variables}, start.parameters)
    params = found.pop("params")
    return state._replace(
        params=params, variables=found, ema=None if state.ema is None else jax.tree.map(jax.numpy.copy, params)
    )


def check_start(experiment: Experiment, shapes: Shapes) -> None:
    """Raise `UsageError` unless what `experiment.start` names is there and fits the model; computes nothing."""
    if not experiment.start:
        return
    state = shapes.state
    own = flat(state.params)
    check_once(experiment, own)
    for index, (start, other) in enumerate(zip(experiment.start, shapes.starts, strict=True)):
        where = f"start.{index}"
        if isinstance(start, Pretrained):
            take_pretrained(start, experiment.model, {"params": state.params, **state.variables}, where)
        else:
            assert other is not None
            _check_run(start, own, flat(other.params), f"{where}.experiment.model")


def _check_run(start: Start, own: dict[tuple[str, ...], Any], other: dict[tuple[str, ...], Any], model: str) -> None:
    """Raise `UsageError` unless `other`, of the run's model, has what is to be taken as `own` has it.

    `model` is the path of that model in the experiment.
    """
    for path in start.parameters:
        source, here = (path, path) if isinstance(path, str) else path
        check_path(here, own, "model")
        check_path(source, other, model)
        for key in (key for key in own if under(key, here)):
            name, taken = ".".join(key), source_of(key, (path,))
            if taken not in other:
                raise UsageError(f'{model} has no parameters "{".".join(taken or ())}", which "{source}" should bring')
            if own[key].shape != other[taken].shape:
                raise UsageError(
                    f'parameters "{name}" are {own[key].shape} in model and {other[taken].shape} in {model}: '
                    "the two must be of one size where one starts from the other"
                )


def check_once(experiment: Experiment, own: dict[tuple[str, ...], Any]) -> None:
    """Raise `UsageError` where several paths bring the same parameters, as the last of them would hide the others."""
    paths = [
        (f"start.{index}", path)
        for index, start in enumerate(experiment.start)
        for path in (start.parameters if start.parameters is not None else ("",))
    ]
    for key in own:
        bringing = [where for where, path in paths if path == "" or source_of(key, (path,))]
        if len(bringing) > 1:
            both = " and ".join(collections.Counter(bringing)) if len(set(bringing)) > 1 else f"{bringing[0]} twice"
            raise UsageError(f'parameters "{".".join(key)}" are brought by {both}: leave them out of one')


def check_tokens(experiment: Experiment, params: Any, options: RunOptions) -> None:
    """Raise `UsageError` where embeddings are taken from a run whose token ids mean other text; reads both texts.

    `params` are those of the experiment, abstract or not.
    """
    for index, start in enumerate(experiment.start):
        if not isinstance(start, Start):
            continue
        taken = [key for key in flat(params) if source_of(key, start.parameters)]
        own, other = (data.trained(options.data_dir) for data in (experiment.data, start.experiment.data))
        if own is not None and other is not None and own != other and any(key[-1] == "embedding" for key in taken):
            raise UsageError(
                f"the tokenizers of data and start.{index}.experiment.data differ, so embeddings would be taken for "
                "other tokens: give both the same dataset, training split, tokenizer and vocabulary"
            )


def _select(own: Any, other: Any, paths: tuple[str | tuple[str, str], ...]) -> Any:
    """Return collections by name, with the leaves that `paths` bring taken from those of `other`."""
    mine, found = flat(own), flat(other)
    for key in mine:
        if source := source_of(key[1:], paths):
            mine[key] = found[(key[0], *source)]
    return flax.traverse_util.unflatten_dict(mine)
