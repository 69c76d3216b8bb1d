"""Beginning with the parameters of another run, or of a file."""

from pathlib import Path
from typing import Any

import flax
import jax

from research.devices import ONE_DEVICE, Layout, place
from research.errors import UsageError
from research.experiment import Experiment, Pretrained, RunOptions, Start, fingerprint, split
from research.optimization.paths import check_path, flat, under
from research.training.initialization.pretrained import take_pretrained
from research.training.storage.restoration import restore
from research.training.update.state import TrainState, abstract_state
from research.training.update.step import init_state


def start_folder(start: Start, root: Path, options: RunOptions) -> Path:
    """Return the folder of the run to begin with; runs that share `options.start_dir` share it."""
    name = f"{fingerprint(start.experiment)}-seed{start.experiment.seed}"
    return Path(options.start_dir or root / "start") / name


def first_state(experiment: Experiment, root: Path, options: RunOptions, layout: Layout = ONE_DEVICE) -> TrainState:
    """Return the state before the first step: a new one, with what `experiment.start` brings."""
    program, hyperparameters = split(experiment)
    state = place(init_state, program, layout, gives="state", once=True)(hyperparameters)
    return state if experiment.start is None else layout.put(graft(experiment, state, root, options))


def graft(experiment: Experiment, state: TrainState, root: Path, options: RunOptions) -> TrainState:
    """Return a new state with what `experiment.start` names taken from its finished run or its file."""
    match experiment.start:
        case None:
            return state
        case Pretrained() as start:
            found = take_pretrained(start, experiment.model, {"params": state.params, **state.variables})
            found = jax.tree.map(jax.numpy.asarray, found)
            params = found.pop("params")
            variables = found
        case Start() as start:
            check_tokens(experiment, options)
            _, trained = restore(start_folder(start, root, options))
            params = _taken(state.params, trained.evaluated, start.parameters)
            variables = _taken(state.variables, trained.variables, start.parameters, below=1)
    return state._replace(
        params=params, variables=variables, ema=None if state.ema is None else jax.tree.map(jax.numpy.copy, params)
    )


def check_start(experiment: Experiment) -> None:
    """Raise `UsageError` unless what `experiment.start` names is there and fits the model; computes nothing."""
    start, state = experiment.start, abstract_state(experiment)
    if isinstance(start, Pretrained):
        take_pretrained(start, experiment.model, {"params": state.params, **state.variables})
    if not isinstance(start, Start):
        return
    own = flat(state.params)
    other = flat(abstract_state(start.experiment).params)
    for path in start.parameters:
        for keys, whose in ((own, "model"), (other, "start.experiment.model")):
            check_path(path, keys, whose)
        for key in (key for key in own if under(key, path)):
            name = ".".join(key)
            if key not in other:
                raise UsageError(f'start.experiment.model has no parameters "{name}", which "{path}" should bring')
            if own[key].shape != other[key].shape:
                raise UsageError(
                    f'parameters "{name}" are {own[key].shape} in model and {other[key].shape} in '
                    "start.experiment.model: the two must be of one size where one begins with the other"
                )


def check_tokens(experiment: Experiment, options: RunOptions) -> None:
    """Raise `UsageError` where embeddings are taken from a run whose token ids mean other text; reads both texts."""
    start = experiment.start
    if not isinstance(start, Start):
        return
    taken = [key for key in flat(abstract_state(experiment).params) if any(under(key, p) for p in start.parameters)]
    own, other = (data.trained(options.data_dir) for data in (experiment.data, start.experiment.data))
    if own is not None and other is not None and own != other and any(key[-1] == "embedding" for key in taken):
        raise UsageError(
            "the tokenizers of data and start.experiment.data differ, so embeddings would be taken for other tokens: "
            "give both the same dataset, training split, tokenizer and vocabulary"
        )


def _taken(own: Any, other: Any, paths: tuple[str, ...], below: int = 0) -> Any:
    """Return `own` with the leaves under `paths`, counted from `below` levels down, taken from `other`."""
    mine, source = flat(own), flat(other)
    return flax.traverse_util.unflatten_dict(
        {key: source[key] if any(under(key[below:], path) for path in paths) else mine[key] for key in mine}
    )
