"""The command `plan`: what a run would take of hardware, before it is paid for."""

import dataclasses
from collections.abc import Iterator
from typing import Annotated

from research.cli.runs import Flat
from research.errors import RunError, UsageError
from research.experiment import Experiment, Placement
from research.fields import Positive, Range, validate
from research.planning.memory import GPU_SHARE
from research.planning.meshes import Candidate
from research.planning.plan import Planned, plan

WORDS = {"compute": "arithmetic", "memory": "memory traffic", "links": "communication"}
SHORT = 1e-3
"""Seconds of a step below which launching it takes a large part."""
Share = Annotated[float, Range(0.0, 1.0, open_start=True)]


@dataclasses.dataclass(frozen=True)
class Plan:
    """Say what a run would take of hardware that is not here: its train step is compiled for it, and nothing is run.

    Exits with 1 where it does not fit, and with 2 where the target's compiler is missing: the plan is then one for as
    many simulated CPU devices, and the error says what to install.
    """

    experiment: Annotated[Experiment, Flat]
    target: str = "cpu"
    """TPUs by the shape of their slice (v5e:4x4, v6e:8x8, v5p:2x2x1), GPUs by number (h100:8, also a100, h200, b200),
    or cpu:8. Compilers for the first are in the extra "plan-tpu", for the second in "plan-gpu"."""
    placement: Placement = Placement()
    """The mesh; by default the one with the least communication that fits."""
    meshes: bool = False
    """Compile for every mesh that divides devices and batch, and list them; this takes a while."""
    largest_batch: bool = False
    """Search for the largest batch that fits, by compiling; this takes a while."""
    utilisation: Share = 0.4
    """Share of their peak that matrix products are taken to reach."""
    price: Positive | None = None
    """Of one device for an hour, in any currency."""
    quick: bool = False
    """Have the TPU compiler optimise less: several times sooner, but the memory of activations is less certain."""
    data_dir: str | None = None
    """Where prepared datasets are kept."""
    smoke: bool = False
    """Plan the small variant."""

    def __post_init__(self) -> None:
        validate(self)


def print_plan(arguments: Plan, name: str) -> None:
    """Compile and print the plan.

    Raises:
        UsageError: the target's compiler is not installed, so that the plan is for simulated devices.
        RunError: the run does not fit.
    """
    placement = None if arguments.placement == Placement() else arguments.placement
    planned = plan(
        arguments.experiment,
        arguments.target,
        placement,
        arguments.utilisation,
        arguments.meshes,
        arguments.largest_batch,
        arguments.quick,
        arguments.data_dir,
    )
    print("\n".join(lines(planned, name, arguments)))
    if planned.aim.missing:
        raise UsageError(planned.aim.missing)
    if planned.candidate.fits == "no":
        raise RunError(refusal(planned))


def refusal(planned: Planned) -> str:
    """Return in a sentence that a run does not fit, and what may help."""
    lacking = planned.candidate.lacking
    least = "memory" if lacking is None else f"at least {binary(lacking)}"
    return (
        f"a step does not fit {planned.target}: each device lacks {least}; take more devices, raise accumulation, "
        "lower batch_size, or set model.remat where there is one"
    )


def lines(planned: Planned, name: str, arguments: Plan) -> Iterator[str]:
    """Yield the plan line by line."""
    yield f"{name} on {planned.target}, {devices(planned)}"
    if planned.aim.missing:
        yield f"note: {planned.aim.missing}"
    yield ""
    yield f"mesh        {mesh(planned.candidate.placement)}; {rows(planned)}"
    yield from memory(planned)
    yield from arithmetic(planned)
    yield from collectives(planned)
    yield from speed(planned, arguments)
    yield from largest(planned)
    yield from others(planned)
    yield ""
    yield from conventions(planned, arguments)


def devices(planned: Planned) -> str:
    """Return the devices of the target in words."""
    count = planned.target.devices
    takes = "takes" if planned.devices == 1 else "take"
    used = "" if planned.devices == count else f", of which {planned.devices} {takes} part"
    return f"{count} device{'s' * (count > 1)}{used}"


def mesh(placement: Placement) -> str:
    """Return a mesh in words."""
    return f"data {placement.data} x fsdp {placement.fsdp} x tensor {placement.tensor}"


def rows(planned: Planned) -> str:
    """Return how a batch is divided, in words."""
    placement = planned.candidate.placement
    own = planned.batch_size // ((placement.data or 1) * placement.fsdp)
    return f"{planned.batch_size:,} examples a step, {own:,} on each device"


def memory(planned: Planned) -> Iterator[str]:
    """Yield the memory of a device, part by part."""
    found = planned.candidate.memory
    yield "memory      of each device"
    for part, size in found.held.items():
        yield f"  {part:<17} {binary(size):>10}"
    if found.temporaries is None:
        yield f"  {'activations':<17} {'unknown':>10}  as the compiler gave up"
    else:
        yield f"  {'activations':<17} {binary(found.temporaries):>10}  and other temporaries, at their peak"
        yield f"  {'results, padding':<17} {binary(found.results + found.padding):>10}"
    yield f"  {'total':<17} {binary(found.total):>10}  {verdict(planned)}"


def verdict(planned: Planned) -> str:
    """Return whether a step fits, in words."""
    candidate, capacity = planned.candidate, planned.chip.memory
    if capacity is None:
        return f"the memory of {planned.target.chip.name} is unknown"
    if candidate.fits == "no":
        lacking = "" if candidate.lacking is None else f", lacks {binary(candidate.lacking)}"
        return f"of {binary(capacity)}: does not fit{lacking}"
    share = candidate.memory.total / capacity
    if planned.target.chip.platform == "cuda" and share > GPU_SHARE:
        return f"of {binary(capacity)}: fits, with XLA_PYTHON_CLIENT_MEM_FRACTION above {share:.2f}, not {GPU_SHARE}"
    return f"of {binary(capacity)}: fits ({share:.1%})" if share > 0.001 else f"of {binary(capacity)}: fits"


def arithmetic(planned: Planned) -> Iterator[str]:
    """Yield the FLOPs of a step."""
    work = planned.work
    products = {"16-bit": work.half, "float32": work.single}
    shares = [f"{flops / work.flops:.0%} in {name} products" for name, flops in products.items() if flops]
    each = decimal(work.flops / planned.batch_size)
    yield f"arithmetic  {decimal(work.flops)}FLOP a step, {each}FLOP an example; {', '.join(shares) or 'no products'}"
    if work.open_loops:
        yield f"  counted once: {work.open_loops} loop{'s' * (work.open_loops > 1)} of unknown length"


def collectives(planned: Planned) -> Iterator[str]:
    """Yield what is communicated in a step."""
    found = planned.candidate.communication
    if found is None:
        yield "collectives unknown"
        return
    yield f"collectives {f'{binary(found.sent)} sent by each device a step' if found.collectives else 'none'}"
    for each in found.collectives:
        yield f"  {each.kind:<18} {each.count:>5,} x among {each.group:<4} {binary(each.bytes):>10} in all"
    if found.open_loops:
        yield f"  counted once: what is in {found.open_loops} loop{'s' * (found.open_loops > 1)} of unknown length"


def speed(planned: Planned, arguments: Plan) -> Iterator[str]:
    """Yield time and cost."""
    found, seconds = planned.roofline, planned.step_seconds
    if found is None or seconds is None:
        yield "step time   unknown" + ("" if found is None else f", as the peaks of {planned.target.chip.name} are")
        return
    yield (
        f"step time   {duration(seconds)} at least: {WORDS[found.limit or '']} is the limit "
        f"(arithmetic {duration(found.compute)}, memory {duration(found.memory)}, links {duration(found.links)})"
    )
    if seconds < SHORT:
        yield "            so short a step waits for the host more than for the chip: expect it to take longer"
    rate = planned.batch_size / seconds
    tokens = "" if planned.tokens is None else f", {rounded(rate * planned.tokens)} tokens/s"
    yield f"speed       {rounded(rate)} examples/s{tokens} at most"
    whole = cost(planned, planned.steps * planned.batch_size, arguments.price)
    yield f"cost        {whole} for {planned.steps:,} steps"
    if planned.epoch is None:
        yield "            an epoch: unknown, as the data is not prepared"
    else:
        yield f"            {cost(planned, planned.epoch, arguments.price)} for an epoch of {planned.epoch:,} examples"


def cost(planned: Planned, examples: int, price: float | None) -> str:
    """Return the device-hours of so many examples, and their price where one is given."""
    hours = planned.device_hours(examples) or 0.0
    money = "" if price is None else f", {hours * price:,.2f} at {price:g} an hour"
    return f"{hours:.3g} device-hours ({duration(hours * 3600 / planned.devices)}{money})"


def largest(planned: Planned) -> Iterator[str]:
    """Yield the largest batch."""
    found = planned.largest
    if found is None:
        return
    fits = "no batch fits" if found.fits is None else f"{found.fits:,} examples fit"
    beyond = ", all there are" if found.too_large is None else f", {found.too_large:,} do not"
    yield f"largest batch  {fits}{beyond} ({found.compilations} compilations)"


def others(planned: Planned) -> Iterator[str]:
    """Yield the other meshes that were looked at."""
    if not planned.others:
        return
    yield "other meshes, of each device"
    for each in sorted(planned.others, key=lambda each: (each.fits == "no", sent(each), each.memory.total)):
        fits = {"yes": "fits", "no": "does not fit", "unknown": ""}[each.fits]
        exchanged = "" if each.communication is None else f", sends {binary(each.communication.sent)}"
        at_least = "at least " if each.memory.temporaries is None else ""
        yield f"  {mesh(each.placement):<32} {at_least}{binary(each.memory.total)}{exchanged}  {fits}".rstrip()


def sent(candidate: Candidate) -> float:
    """Return what a device sends, 0 where that is not known."""
    return 0.0 if candidate.communication is None else candidate.communication.sent


def conventions(planned: Planned, arguments: Plan) -> Iterator[str]:
    """Yield what the numbers rest on."""
    chip, seconds = planned.target.chip, planned.candidate.compile_seconds
    if seconds is not None:
        effort = ", optimising less (--quick)" if arguments.quick and chip.platform == "tpu" else ""
        yield f"Compiled in {seconds:.0f} s{effort}; nothing was run."
    yield "FLOPs: two for a multiply-add, one for an element of all else; loops as often as they run."
    if planned.step_seconds is not None:
        yield (
            f"Time: a lower bound, not a measurement. Products at {arguments.utilisation:.0%} of the peak; what they "
            "and the state move,\nat the full speed of memory and half the links; all at once, no latency or input."
        )
        if planned.work.single > planned.work.half:
            passes = {"tpu": "a pass in bfloat16", "cuda": "TF32"}[chip.platform]
            yield f"Products in float32 are taken at JAX's default precision, {passes}."
    if planned.target.hosts > 1:
        yield "Links between machines are not known, so communication is not part of the time."
    if chip.source:
        yield f"Peaks: {chip.source}"


def binary(size: float) -> str:
    """Return bytes in the unit that suits."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def decimal(number: float) -> str:
    """Return a number with the prefix that suits, before a unit."""
    for prefix in ("", "k", "M", "G", "T"):
        if number < 1000:
            return f"{number:.3g} {prefix}"
        number /= 1000
    return f"{number:,.3g} P"


def rounded(number: float) -> str:
    """Return a number with three digits that count."""
    return f"{float(f'{number:.3g}'):,.12g}"


def duration(seconds: float | None) -> str:
    """Return seconds in the unit that suits."""
    if seconds is None:
        return "unknown"
    if seconds < 1:
        for unit in ("s", "ms", "µs"):
            if seconds >= 1 or unit == "µs" or not seconds:
                return f"{seconds:.3g} {unit}" if seconds else "0"
            seconds *= 1000
    if seconds < 120:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:,.1f} h"
