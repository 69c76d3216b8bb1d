"""What a run would take of hardware that is not there: its train step, compiled for it, and counted."""

import dataclasses
import time
from collections.abc import Iterator
from typing import Any

import jax

from research.devices.layout import Layout, lay_out
from research.errors import UsageError
from research.experiment import Experiment, Placement, replace, spec
from research.planning.chips import Chip
from research.planning.collectives import communication
from research.planning.flops import Work, work
from research.planning.lowering import arguments, lowered, step_jaxpr
from research.planning.memory import Exhausted, Memory, bytes_per_device, exhausted, memory
from research.planning.meshes import Candidate, Fit, best, largest, placements, size
from research.planning.roofline import Roofline, roofline
from research.planning.targets import Aim, Target, aim, parse_target
from research.training.initialization.checking import check


@dataclasses.dataclass(frozen=True)
class Batches:
    """The largest batch that was found to fit, the smallest found not to, None where all did, and the compilations."""

    fits: int | None
    too_large: int | None
    compilations: int


@dataclasses.dataclass(frozen=True)
class Planned:
    """What a run takes of a target; `candidate` is on the mesh that was asked for, or on the best that was found.

    `work` is a step's on all devices together. `tokens` are those of an example, None where it has none; `epoch` the
    training examples, None where the data is not prepared.
    """

    target: Target
    aim: Aim
    candidate: Candidate
    others: tuple[Candidate, ...]
    work: Work
    roofline: Roofline | None
    batch_size: int
    steps: int
    tokens: int | None
    epoch: int | None
    largest: Batches | None

    @property
    def devices(self) -> int:
        """How many devices take part."""
        return size(self.candidate.placement)

    @property
    def chip(self) -> Chip:
        """The figures of one device."""
        return self.target.chip.device()

    @property
    def step_seconds(self) -> float | None:
        """The least seconds of a step."""
        return None if self.roofline is None else self.roofline.seconds

    def device_hours(self, examples: int) -> float | None:
        """Return what so many examples take of all devices that take part."""
        seconds = self.step_seconds
        return None if seconds is None else seconds * examples / self.batch_size * self.devices / 3600


def plan(
    experiment: Experiment,
    target: str = "cpu",
    placement: Placement | None = None,
    utilisation: float = 0.4,
    meshes: bool = False,
    largest_batch: bool = False,
    quick: bool = False,
    data_dir: str | None = None,
) -> Planned:
    """Return what a run of `experiment` takes of hardware, without having it and before the data is there.

    Args:
        experiment: what is to be run.
        target: chips by name and shape or number, as `research.planning.targets.parse_target` reads them.
        placement: the mesh to plan; None takes that with the least communication that fits: the batch divided among
            all devices, else the state among as few as it takes, else the matrices too.
        utilisation: share of their peak that matrix products reach.
        meshes: compile for every mesh, rather than until one fits.
        largest_batch: search for it, compiling each.
        quick: have the TPU compiler optimise less; several times sooner, but activations may take other room.
        data_dir: where prepared datasets are kept.

    Raises:
        UsageError: the target is not known, mesh, devices and batch do not divide one another, or pmap is asked for.
    """
    goal = parse_target(target)
    if placement is not None and placement.method != "jit":
        raise UsageError(
            f"a plan is made of the program that jit compiles: leave out placement.method {placement.method}"
        )
    aimed = aim(goal)
    check(experiment, begun=True)
    compiling = _Compiling(goal, aimed, quick)
    if placement is None:
        tried = list(compiling.all_meshes(experiment) if meshes else compiling.until_fits(experiment))
        chosen = best(tried)
    else:
        chosen = compiling.candidate(experiment, placement)
        tried = [chosen, *(compiling.all_meshes(experiment) if meshes else ())]
    whole, examples = work(step_jaxpr(experiment)), _examples(experiment, data_dir)
    return Planned(
        target=goal,
        aim=aimed,
        candidate=chosen,
        others=tuple(each for each in tried if each.placement != chosen.placement),
        work=whole,
        roofline=_roofline(experiment, chosen, whole, goal, utilisation),
        batch_size=experiment.batch_size,
        steps=experiment.steps,
        tokens=_tokens(experiment),
        epoch=examples,
        largest=compiling.largest_batch(experiment, chosen, examples) if largest_batch else None,
    )


@dataclasses.dataclass(frozen=True)
class _Compiling:
    """Compiles steps for a target."""

    target: Target
    aim: Aim
    quick: bool

    @property
    def capacity(self) -> float | None:
        """Bytes of a device's memory."""
        return self.target.chip.device().memory

    def until_fits(self, experiment: Experiment) -> Iterator[Candidate]:
        """Yield the meshes that were tried, until one fits; a state that alone is too large is not compiled.

        Where all are, the compiler is asked about the one that is by least, for its word counts.
        """
        options = self._options(experiment)
        hopeless = []
        for placement in options:
            layout = self._layout(experiment, placement)
            held = _held(experiment, layout)
            if self.capacity is not None and sum(held.values()) > self.capacity:
                lacking = int(sum(held.values()) - self.capacity)
                hopeless.append(Candidate(placement, Memory(held), "no", lacking))
                continue
            candidate = self.candidate(experiment, placement)
            yield candidate
            if candidate.fits != "no":
                return
        if len(hopeless) == len(options):
            least = min(hopeless, key=lambda each: each.memory.total)
            hopeless.remove(least)
            yield self.candidate(experiment, least.placement)
        yield from hopeless

    def all_meshes(self, experiment: Experiment) -> Iterator[Candidate]:
        """Yield every mesh, compiled."""
        for placement in self._options(experiment):
            yield self.candidate(experiment, placement)

    def candidate(self, experiment: Experiment, placement: Placement) -> Candidate:
        """Return a step compiled on a mesh."""
        layout = self._layout(experiment, placement)
        assert layout.mesh is not None
        sizes = layout.mesh.shape
        explicit = Placement(placement.method, sizes["data"], sizes["fsdp"], sizes["tensor"])
        held = _held(experiment, layout)
        start = time.perf_counter()
        try:
            compiled = lowered(experiment, layout).compile(compiler_options=self._compiler_options())
        except jax.errors.JaxRuntimeError as error:
            refusal = exhausted(error)
            if refusal is None:
                raise
            seconds = time.perf_counter() - start
            return Candidate(explicit, Memory(held), "no", self._lacking(held, refusal), compile_seconds=seconds)
        seconds = time.perf_counter() - start
        found = memory(held, compiled)
        fits = self._fits(found)
        lacking = int(found.total - (self.capacity or 0)) if fits == "no" else None
        return Candidate(
            explicit, found, fits, lacking, communication(compiled.as_text() or "", layout.devices), seconds
        )

    def largest_batch(self, experiment: Experiment, candidate: Candidate, most: int | None) -> Batches | None:
        """Return the largest batch that fits a mesh: doubled while it does, then the gap is halved.

        No larger one is looked for than the training split. None where the memory of the devices is not known.
        """
        if self.capacity is None:
            return None
        placement = candidate.placement
        part = (placement.data or 1) * placement.fsdp * experiment.accumulation
        compilations = 0

        def fits(parts: int) -> bool:
            """Compile a batch of so many parts."""
            nonlocal compilations
            compilations += 1
            return self.candidate(replace(experiment, {"batch_size": parts * part}), placement).fits == "yes"

        first, limit = experiment.batch_size // part, None if most is None else max(1, most // part)
        low, high = largest(fits, first, candidate.fits == "yes", limit)
        return Batches(low and low * part, high and high * part, compilations)

    def _options(self, experiment: Experiment) -> list[Placement]:
        """Return the meshes of all devices that divide the batch; where none does, the one that leaves devices out."""
        whole = list(placements(experiment, self.target.devices))
        return whole or [Placement(data=self._layout(experiment, Placement()).parts)]

    def _layout(self, experiment: Experiment, placement: Placement) -> Layout:
        """Return where the step's arrays lie."""
        return lay_out(experiment, placement, self.aim.devices)

    def _compiler_options(self) -> dict[str, Any] | None:
        """Return the compiler's options."""
        if self.aim.missing is not None:
            return None
        match self.target.chip.platform:
            case "tpu":
                return {"exec_time_optimization_effort": -1.0} if self.quick else None
            case "cuda":
                # Without a GPU to measure on, XLA guesses the tiles of Triton's products, and refuses some guesses.
                return {"xla_gpu_enable_triton_gemm": False}
        return None

    def _fits(self, found: Memory) -> Fit:
        """Return whether a step that compiled fits: TPUs' own compiler refuses one that does not, others do not."""
        if self.capacity is None:
            return "unknown"
        return "yes" if found.total <= self.capacity else "no"

    def _lacking(self, held: dict[str, int], refusal: Exhausted) -> int | None:
        """Return the bytes that a refused step lacks, at the least."""
        if refusal.needed is not None and refusal.available is not None:
            return refusal.needed - refusal.available
        return None if self.capacity is None else max(1, int(sum(held.values()) - self.capacity))


def _held(experiment: Experiment, layout: Layout) -> dict[str, int]:
    """Return the bytes of a step's arguments on each device."""
    state, batch, references = arguments(experiment, layout)
    held = {
        "parameters": bytes_per_device(state.params),
        "optimizer state": bytes_per_device(state.opt_state),
        "other state": bytes_per_device((state.step, state.variables, state.ema)),
        "batch": bytes_per_device(batch),
    }
    return {**held, "references": bytes_per_device(references)} if references else held


def _roofline(
    experiment: Experiment, candidate: Candidate, whole: Work, target: Target, utilisation: float
) -> Roofline | None:
    """Return the roofline of a step on one of its devices; None where it was not compiled.

    What products read and write is that of a step on a device's own rows, for each device reads all of a matrix.
    """
    if candidate.communication is None:
        return None
    placement = candidate.placement
    devices = size(placement)
    rows = experiment.batch_size // ((placement.data or 1) * placement.fsdp)
    own = whole if rows == experiment.batch_size else work(step_jaxpr(replace(experiment, {"batch_size": rows})))
    each = Work(
        whole.half // devices, whole.single // devices, whole.elementwise // devices, own.traffic // placement.tensor
    )
    chip = target.chip.device()
    if target.hosts > 1:  # what connects machines is no figure of the chip
        chip = dataclasses.replace(chip, links=None)
    return roofline(each, sum(candidate.memory.held.values()), candidate.communication.sent, chip, utilisation)


def _tokens(experiment: Experiment) -> int | None:
    """Return the tokens of an example that a step is given."""
    prepared = jax.eval_shape(experiment.data.preprocess, spec(experiment))
    return prepared["tokens"].shape[1] if "tokens" in prepared else None


def _examples(experiment: Experiment, data_dir: str | None) -> int | None:
    """Return how many training examples there are, None where the data is not prepared."""
    try:
        return len(experiment.data.open("train", data_dir))
    except UsageError:
        return None
