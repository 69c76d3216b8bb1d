"""Beginning with the parameters of another run."""

from pathlib import Path
from typing import Any

import flax
import jax

from research.errors import UsageError, suggestion
from research.experiment import Experiment, RunOptions, Start, fingerprint
from research.training.restoration import restore
from research.training.state import TrainState, abstract_state


def start_folder(start: Start, root: Path, options: RunOptions) -> Path:
    """Return the folder of the run to begin with; runs that share `options.start_dir` share it."""
    name = f"{fingerprint(start.experiment)}-seed{start.experiment.seed}"
    return Path(options.start_dir or root / "start") / name


def graft(experiment: Experiment, state: TrainState, root: Path, options: RunOptions) -> TrainState:
    """Return a new state with what `experiment.start` names taken from its finished run."""
    if experiment.start is None:
        return state
    check_tokens(experiment, options)
    _, trained = restore(start_folder(experiment.start, root, options))
    params = _taken(state.params, trained.evaluated, experiment.start.parameters)
    variables = _taken(state.variables, trained.variables, experiment.start.parameters, below=1)
    return state._replace(
        params=params, variables=variables, ema=None if state.ema is None else jax.tree.map(jax.numpy.copy, params)
    )


def check_start(experiment: Experiment) -> None:
    """Raise `UsageError` unless every path that `experiment.start` names fits both models; computes nothing."""
    if experiment.start is None:
        return
    own = _flat(abstract_state(experiment).params)
    other = _flat(abstract_state(experiment.start.experiment).params)
    for path in experiment.start.parameters:
        for flat, whose in ((own, "model"), (other, "start.experiment.model")):
            if not any(_under(key, path) for key in flat):
                paths = {".".join(key[: depth + 1]) for key in flat for depth in range(len(key))}
                raise UsageError(f'{whose} has no parameters "{path}"{suggestion(path, paths)}')
        for key in (key for key in own if _under(key, path)):
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
    if start is None:
        return
    taken = [key for key in _flat(abstract_state(experiment).params) if any(_under(key, p) for p in start.parameters)]
    own, other = (data.trained(options.data_dir) for data in (experiment.data, start.experiment.data))
    if own is not None and other is not None and own != other and any(key[-1] == "embedding" for key in taken):
        raise UsageError(
            "the tokenizers of data and start.experiment.data differ, so embeddings would be taken for other tokens: "
            "give both the same dataset, training split, tokenizer and vocabulary"
        )


def _taken(own: Any, other: Any, paths: tuple[str, ...], below: int = 0) -> Any:
    """Return `own` with the leaves under `paths`, counted from `below` levels down, taken from `other`."""
    flat, source = _flat(own), _flat(other)
    return flax.traverse_util.unflatten_dict(
        {key: source[key] if any(_under(key[below:], path) for path in paths) else flat[key] for key in flat}
    )


def _flat(tree: Any) -> dict[tuple[str, ...], Any]:
    """Return a tree of dictionaries as one, keyed by path."""
    return flax.traverse_util.flatten_dict(tree)


def _under(key: tuple[str, ...], path: str) -> bool:
    """Return whether a parameter is `path` or lies below it."""
    return key[: path.count(".") + 1] == tuple(path.split("."))
