"""The value: everything that decides a run's numbers, and what can be done with it.

experiment = replace(experiment, {"model.dropout": 0.2})      # strict; a typo raises and names the closest path
difference(a, b)                                              # ["model.dropout"]
program, hyperparameters = split(experiment)                  # what is compiled, and its arguments
join(program, hyperparameters) == experiment
from_json(to_json(experiment)) == experiment                  # a closed set of types; nothing is imported by name
"""

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

import flax.linen as nn
import jax
import numpy as np

from research import data, models, optimization, tasks
from research.data import Data, Residency
from research.errors import UnknownPathError, UsageError, WrongTypeError, suggestion
from research.fields import (
    Count,
    Hole,
    Length,
    Seed,
    Size,
    Switch,
    annotations,
    canonical,
    children,
    describe,
    is_value,
    kind,
    rebuild,
    validate,
)
from research.optimization import Optimizer
from research.tasks import Task

Hyperparameters = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Experiment:
    """Everything that decides a run's numbers.

    Construction checks every field, deeply, against its annotation and raises `UsageError` naming the dotted path.
    """

    model: nn.Module
    """A linen module: its fields are the architecture."""
    task: Task
    """What is learned: loss, metrics and predictions."""
    data: Data
    """Where batches come from, and how they are prepared."""
    optimizer: Optimizer
    """Update rule, schedule and regularisation."""
    steps: Length
    """Training steps; also the length of the learning-rate schedule."""
    batch_size: Size
    """Examples in the global batch of a training step, on all devices together."""
    seed: Seed = 0
    """Decides initial parameters, data order, dropout and augmentation."""
    start: "Start | Pretrained | None" = None
    """The run, or the file, whose parameters this one begins with; None begins with new ones."""
    accumulation: Size = 1
    """Parts of a batch that are computed one after the other, their gradients added up: less memory. Batch norm and
    dropout see a part at a time, so this is a part of the value."""
    nonfinite: Literal["stop", "skip", "rewind"] = "stop"
    """What follows a loss or gradient that is not finite: stop ends the run, which keeps its last good checkpoint; skip
    leaves that update out, though 11 in a row end the run; rewind first takes the steps since the last checkpoint once
    more, as hardware may have failed in passing, and leaves out what comes twice."""
    spike: Switch = 0.0
    """Standard deviations above the mean of the last 128 losses from which on an update is left out, once 64 are known
    and but for the 11th in a row; 6 is usual, 0 leaves none out."""

    def __post_init__(self) -> None:
        validate(self)


@dataclasses.dataclass(frozen=True)
class Start:
    """A run to begin with, as a value like any other: it is trained first, unless it is there already.

    It has a seed of its own, so by default every seed of the run that follows begins with the same parameters.
    """

    experiment: Experiment
    """What is trained first."""
    parameters: tuple[str, ...]
    """What is taken from it: dotted paths such as "bert" or "encoder.block_0", each with everything below it."""


@dataclasses.dataclass(frozen=True)
class Pretrained:
    """A file of weights to begin with, as a value like any other: its digest says what is in it.

    Where the file lies is no part of the value: two that differ in that alone are equal and have one fingerprint.
    """

    file: str = dataclasses.field(compare=False)
    """FILE.safetensors with the names of torchvision or timm, or FILE.pth or FILE.pt as PyTorch writes them."""
    sha256: str
    """Digest of the file, as `sha256sum` prints it; another file is refused."""
    parameters: tuple[str, ...] | None = None
    """What is taken from it: dotted paths such as "stem" or "stage_0", each with everything below it; None takes all,
    and refuses a file with more."""


@dataclasses.dataclass(frozen=True)
class Placement:
    """Which devices share a run, and how; results depend on it by the order of floating point sums alone.

    The devices form a mesh: `data` x `fsdp` x `tensor`. A batch is divided over `data` and `fsdp`, the state over
    `fsdp`, and over `tensor` as the rules of the model say. By default all devices share the batch, or as many of them
    as divide it.
    """

    method: Literal["jit", "pmap"] = "jit"
    """jit compiles one program for the whole mesh; pmap one for each device, which holds the whole state."""
    data: Size | None = None
    """Devices that share the batch and each hold the state; None for all that the other axes leave."""
    fsdp: Size = 1
    """Devices that share the batch, and among which parameters and optimizer state are divided."""
    tensor: Size = 1
    """Devices among which the matrices of a layer are divided, by the rules of the model."""


@dataclasses.dataclass(frozen=True)
class RunOptions:
    """What a run does besides its numbers; none of it enters the fingerprint."""

    placement: Placement = Placement()
    """Which devices share the run."""
    data_dir: str | None = None
    """Where prepared datasets are kept; default: TFDS_DATA_DIR, else ~/tensorflow_datasets."""
    residency: Residency = "auto"
    """Where the training split lives; all choices give the same batches."""
    steps_per_call: Size = 1
    """Most training steps that one call of the compiled program takes, as far as they divide those between reports,
    evaluations and checkpoints; more is faster where a step takes a fraction of a millisecond."""
    log_every: Size = 50
    """Steps between training reports."""
    evaluate_every: Count = 200
    """Steps between evaluations on the validation split; 0 evaluates at the end only."""
    checkpoint_every: Size = 500
    """Steps between checkpoints; one is also written at the end and on interruption."""
    keep: Size = 2
    """Latest checkpoints kept, besides the best one."""
    save_errors: Literal["stop", "warn"] = "stop"
    """What follows a checkpoint that cannot be saved: stop ends the run, warn says so and goes on, though a run whose
    last one is missing never ends well."""
    stop_after: Size | None = None
    """Stop after this step as an interruption would, keeping the schedule; the same command goes on."""
    start_dir: str | None = None
    """Where the runs are that others begin with; default: start/ in the folder of the run that needs it."""
    keep_best: bool = True
    """Whether the state that was best on validation is kept."""
    pictures: bool = True
    """Whether a run ends with learning curves, and with what its task draws or writes."""
    profile: str | None = None
    """START:STOP: trace the steps from step START to step STOP into profile/, for xprof and Perfetto, and show what was
    slowest. Nothing is traced of steps that were taken before."""
    progress: Literal["auto", "bar", "lines", "none"] = "auto"
    """Progress bar or plain lines; auto shows a bar on a terminal."""
    chaos: str | None = None
    """KIND:PROBABILITY,...: let faults strike before steps at random, start the run again after each, and end as an
    undisturbed one does. Kinds are kill, term, nan (in a parameter), enospc (a full disk) and bitflip (in the newest
    checkpoint), such as kill:0.01,nan:0.005."""
    chaos_seed: Seed = 0
    """Decides when they strike."""
    stop_diverged: bool = True
    """Whether a run whose numbers are no longer finite ends at once; trials of a study go on and are reported as
    diverged."""

    def __post_init__(self) -> None:
        validate(self)
        if self.placement.method == "pmap" and self.steps_per_call > 1:
            raise UsageError("pmap takes one step in a call: set steps_per_call to 1, or placement.method to jit")


def leaves(node: Any, path: str = "", annotation: Any = Any) -> Iterator[tuple[str, Any, Any]]:
    """Yield (dotted path, leaf, annotation) of `node`, down to the items of tuples."""
    inner = list(children(node, annotation))
    if not inner and not is_value(node):
        yield path, node, annotation
    for name, child, child_annotation in inner:
        yield from leaves(child, f"{path}.{name}" if path else name, child_annotation)


def replace(experiment: Any, overrides: Mapping[str, Any]) -> Any:
    """Return `experiment` with the values at dotted paths exchanged.

    All of them are exchanged at once and the result is checked as a whole.

    Raises:
        UnknownPathError: a path does not exist; names the closest ones.
        WrongTypeError, WrongValueError: a value does not fit its field; names the path and what fits.
    """
    return _replace(experiment, {tuple(path.split(".")): value for path, value in overrides.items()}, experiment)


def _replace(
    node: Any, overrides: dict[tuple[str, ...], Any], root: Any, prefix: tuple[str, ...] = (), note: Any = Any
) -> Any:
    """Exchange the children that `overrides`, keyed by path below `node`, name; `root` is for suggestions."""
    inner = list(children(node, note))
    for path in overrides:
        if path[0] not in [name for name, _, _ in inner]:
            whole = ".".join((*prefix, *path))
            raise UnknownPathError(f'there is no "{whole}"{_closest(root, whole)}')
    changes = {}
    for name, child, annotation in inner:
        below = {path[1:]: value for path, value in overrides.items() if path[0] == name}
        path = (*prefix, name)
        if () in below:
            child = canonical(below.pop(()), annotation, ".".join(path))
            changes[name] = child
        if below:
            changes[name] = _replace(child, below, root, path, annotation)
    return rebuild(node, changes)


def _closest(experiment: Any, path: str) -> str:
    """Suggest paths like `path`: alike as a whole, or alike in the last name."""
    paths = list(_paths(experiment))
    last = path.split(".")[-1]
    same_name = [option for option in paths if option.split(".")[-1] == last]
    return suggestion(path, same_name if len(same_name) == 1 else paths)


def _paths(node: Any, prefix: str = "") -> Iterator[str]:
    """Yield the dotted path of every field, values included."""
    for name, child, _ in children(node):
        yield prefix + name
        if is_value(child):
            yield from _paths(child, f"{prefix}{name}.")


def difference(a: Any, b: Any) -> list[str]:
    """Return the dotted paths at which two experiments differ; a whole value where its class differs."""
    return [path for path, _, _ in _differences(a, b)]


def explain(a: Any, b: Any) -> str:
    """Return the differences of two experiments, one a line: ``model.dropout: 0.1 -> 0.2``."""
    return "\n".join(f"{path}: {old!r} -> {new!r}" for path, old, new in _differences(a, b))


def _differences(a: Any, b: Any, prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield (path, value in a, value in b) wherever the two differ."""
    for (name, old, _), (_, new, _) in zip(_compared(a), _compared(b), strict=True):
        if _alike(old, new):
            yield from _differences(old, new, f"{prefix}{name}.")
        elif old != new:
            yield prefix + name, old, new


def _compared(node: Any) -> Iterator[tuple[str, Any, Any]]:
    """Yield the children of a value but those that make no difference, such as where a file lies."""
    apart = {field.name for field in dataclasses.fields(node) if not field.compare} if is_value(node) else set()
    return (child for child in children(node) if child[0] not in apart)


def _alike(old: Any, new: Any) -> bool:
    """Return whether two nodes are values of one class, or tuples of such values, and so differ field by field."""
    if isinstance(old, tuple) and isinstance(new, tuple):
        return len(old) == len(new) > 0 and all(map(_alike, old, new))
    return is_value(old) and type(old) is type(new)


def value_at(node: Any, path: str) -> Any:
    """Return the value at a dotted path, which may go through the items of tuples."""
    for name in path.split("."):
        node = node[int(name)] if isinstance(node, tuple) else getattr(node, name)
    return node


def split(experiment: Experiment) -> tuple[Experiment, Hyperparameters]:
    """Return the program, hashable and with holes for its arguments, and the arguments by dotted path.

    Two experiments with equal programs share every compiled function. The arguments are Python numbers, which JAX takes
    as weakly typed float32 and int32, so that they never widen a bfloat16 computation; the seed is a uint32.
    """
    hyperparameters: Hyperparameters = {}

    def hollow(node: Any, path: str, annotation: Any) -> Any:
        inner = list(children(node, annotation))
        if inner:
            return rebuild(node, {name: hollow(child, _under(path, name), note) for name, child, note in inner})
        if is_value(node) or kind(node, annotation) != "argument":
            return node
        hyperparameters[path] = np.uint32(node) if annotation is Seed else node
        return Hole()

    return hollow(experiment, "", Any), hyperparameters


def join(program: Experiment, hyperparameters: Hyperparameters) -> Experiment:
    """Put arguments, tracers if need be, back into the holes of a program."""

    def fill(node: Any, path: str) -> Any:
        if isinstance(node, Hole):
            return hyperparameters[path]
        return rebuild(node, {name: fill(child, _under(path, name)) for name, child, _ in children(node)})

    return fill(program, "")


def _under(path: str, name: str) -> str:
    """Return the dotted path of the child `name`."""
    return f"{path}.{name}" if path else name


def to_json(experiment: Any, indent: int | None = 2) -> str:
    """Return `experiment` as JSON, each value as its class name and fields; `WrongTypeError` on anything else."""
    return json.dumps(_encode(experiment, "", Any), indent=indent)


def from_json(text: str, known: Iterable[type] = ()) -> Any:
    """Return the experiment that `text` describes.

    A class name is looked up among the public classes of models, tasks, data and optimization, and those of `known`;
    nothing is imported. A field that `text` lacks takes its default.

    Raises:
        UsageError: not JSON, an unknown class or field, or a value that does not fit.
    """
    try:
        return _decode(json.loads(text), vocabulary(known))
    except UsageError:
        raise
    except (ValueError, RecursionError) as error:  # also an integer of too many digits, or lists in lists in lists
        raise UsageError(f"not valid JSON: {error}") from error


def vocabulary(known: Iterable[type] = ()) -> dict[str, type]:
    """Return the classes that JSON may name: the public ones of the four packages, and `known`."""
    public = [item for package in (models, tasks, data, optimization) for item in vars(package).values()]
    values: list[type] = [item for item in public if isinstance(item, type) and dataclasses.is_dataclass(item)]
    return {cls.__name__: cls for cls in (Experiment, Start, Pretrained, *values, *known)}


def classes(node: Any) -> set[type]:
    """Return the classes of `node` and of every value in it, for `known` of `from_json`."""
    inner = set[type]().union(*(classes(child) for _, child, _ in children(node)))
    return inner | {type(node)} if is_value(node) else inner


def _encode(node: Any, path: str, annotation: Any, changed_only: bool = False) -> Any:
    """Return `node` as JSON types; if asked, with only the fields that differ from their defaults and can."""
    if is_value(node):
        defaults = {field.name: field.default for field in dataclasses.fields(node)} if changed_only else {}
        fields: dict[str, Any] = {"class": type(node).__name__}
        for name, child, child_annotation in _compared(node) if changed_only else children(node):
            item = _encode(child, _under(path, name), child_annotation, changed_only)  # refuses arrays before `!=`
            if name not in defaults or child != defaults[name]:
                fields[name] = item
        return fields
    if isinstance(node, tuple):
        return [
            _encode(child, _under(path, name), child_annotation, changed_only)
            for name, child, child_annotation in children(node, annotation)
        ]
    if node is None or isinstance(node, bool | int | float | str):
        return node
    raise WrongTypeError(f"{path} has no canonical form: {node!r} ({type(node).__name__}); use {describe(annotation)}")


def _decode(tree: Any, known: dict[str, type]) -> Any:
    """Return the value that JSON types describe."""
    if isinstance(tree, list):
        return tuple(_decode(item, known) for item in tree)
    if not isinstance(tree, dict):
        return tree
    name = tree.get("class")
    if not isinstance(name, str) or name not in known:
        raise UsageError(f'unknown class "{name}"{suggestion(str(name), known)}')
    cls = known[name]
    for field in tree.keys() - {"class"} - annotations(cls).keys():
        raise UsageError(f'{name} has no field "{field}"{suggestion(field, annotations(cls))}')
    fields = {field: _decode(item, known) for field, item in tree.items() if field != "class"}
    try:
        return cls(**fields)
    except TypeError as error:
        raise UsageError(f"{name}: {error}") from error


def fingerprint(experiment: Experiment) -> str:
    """Return ten hexadecimal digits that name an experiment apart from its seed.

    They hash the fields that differ from their defaults, so a new field keeps old fingerprints. A changed default can
    alias two experiments: the full value stored in a run folder is compared whenever the folder is used again.
    """
    tree = _encode(experiment, "", Any, changed_only=True)
    tree.pop("seed", None)
    return hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()[:10]


def spec(experiment: Experiment) -> dict[str, jax.ShapeDtypeStruct]:
    """Return the shapes and types of one training batch, from the dataset's description alone."""
    return {
        name: jax.ShapeDtypeStruct((experiment.batch_size, *item.shape), item.dtype)
        for name, item in experiment.data.spec().items()
    }
