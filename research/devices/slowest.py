"""Where the time of a trace went: the slowest operations of the devices, by their place in the model, and the host."""

import re
import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax

WINDOW = "profiled steps"
"""What the time of the steps is called in a trace, on the thread that takes them."""


class Operation(NamedTuple):
    """What something in a trace is called, and in which compiled program it is; "" on the host."""

    name: str
    program: str = ""


class Row(NamedTuple):
    """How often an operation ran, and for how many nanoseconds, without what ran inside it."""

    operation: Operation
    calls: int
    time: float


class Times(NamedTuple):
    """The nanoseconds that a trace covers, the operations of the devices, and what the host did; the slowest first."""

    whole: float
    device: list[Row]
    host: list[Row]


class Program(NamedTuple):
    """The name of a compiled program and where its operations come from, by their names."""

    name: str
    sources: dict[str, str]


def read(folder: Path, program: str) -> Times:
    """Return the times in the newest trace of a folder.

    A CPU's operations run on threads of the host. Of the host itself it is the thread that takes the steps. An
    operation that does not say so is of `program`.
    """
    newest = max(folder.glob("plugins/profile/*/*.xplane.pb"), key=lambda path: path.stat().st_mtime_ns)
    with warnings.catch_warnings():
        # Python warns of how jaxlib makes its types; where warnings are errors, jaxlib then ends the process.
        warnings.filterwarnings("ignore", "builtin type .* has no __module__", DeprecationWarning)
        trace = jax.profiler.ProfileData.from_file(str(newest))
        planes = list(trace.planes)
        devices = [plane for plane in planes if plane.name.startswith("/device:")] or planes
        device = [
            own
            for plane in devices
            for line in plane.lines
            for own in own_times(_operations(line.events, line.name == "XLA Ops", program))
        ]
        for line in (line for plane in planes for line in plane.lines):
            events = [(event.start_ns, event.duration_ns, Operation(event.name)) for event in line.events]
            for start, whole, operation in events:
                if operation.name == WINDOW:
                    inside = [event for event in events if start <= event[0] and sum(event[:2]) <= start + whole]
                    return Times(whole, rows(device), rows(own_times(inside)))
    raise ValueError(f"{newest} has no {WINDOW}")


def _operations(events: Iterable[Any], all_of_them: bool, program: str) -> Iterator[tuple[float, float, Operation]]:
    """Yield (start, duration, operation) of the events of a thread that are operations of compiled programs."""
    for event in events:
        details = dict(event.stats)
        if "hlo_op" in details or all_of_them:
            # A TPU gives the whole instruction: %fusion.3 = f32[...
            name = str(details.get("hlo_op") or event.name.split(" = ")[0].lstrip("%"))
            yield event.start_ns, event.duration_ns, Operation(name, str(details.get("hlo_module", program)))


def own_times(events: Iterable[tuple[float, float, Operation]]) -> Iterator[tuple[Operation, float]]:
    """Yield the own duration of the events (start, duration, operation) of a thread: without those inside them."""
    around: list[tuple[float, Operation, float]] = []  # end, operation, own duration so far
    for start, duration, operation in sorted(events, key=lambda event: (event[0], -event[1])):
        while around and around[-1][0] <= start:
            yield around.pop()[1:]
        if around:
            end, outer, own = around.pop()
            duration = min(duration, end - start)  # clocks differ by a little
            around.append((end, outer, own - duration))
        around.append((start + duration, operation, duration))
    for _, operation, own in around:
        yield operation, own


def rows(times: Iterable[tuple[Operation, float]]) -> list[Row]:
    """Return durations added up by operation, the largest first."""
    found: dict[Operation, list[float]] = defaultdict(list)
    for operation, time in times:
        found[operation].append(time)
    return sorted(
        (Row(operation, len(each), sum(each)) for operation, each in found.items()), key=lambda row: -row.time
    )


def parse(text: str) -> Program:
    """Return what the text of a compiled program says about where its operations come from.

    One that does not say so itself has it from the last one that does in the computation that it calls, or else from
    the first one that uses its result. No text says nothing: "" for what is no single program.
    """
    module = re.match(r"HloModule ([\w.\-]+)", text)
    sources: dict[str, str] = {}
    of_computations: dict[str, str] = {}
    computation = ""
    instructions: list[tuple[str, list[str]]] = []
    for line in text.splitlines():
        if opening := re.match(r"(?:ENTRY )?%?([\w.\-]+) \(.*\{$", line):
            computation = opening[1]
        elif instruction := re.match(r"\s+(?:ROOT )?%?([\w.\-]+) = ", line):
            name, rest = instruction[1], line[instruction.end() :]
            called = re.search(r"calls=%?([\w.\-]+)", rest)
            said = re.search(r'op_name="([^"]*)"', rest)
            sources[name] = readable(said[1]) if said else of_computations.get(called[1], "") if called else ""
            of_computations[computation] = sources[name] or of_computations.get(computation, "")
            instructions.append((name, re.findall(r"%([\w.\-]+)", rest.split("metadata=")[0])))
    named = {name for name, source in sources.items() if source}
    for name, used in reversed(instructions):
        if sources[name]:
            sources.update({operand: sources[name] for operand in used if operand not in named})
    return Program(module[1] if module else "", sources)


def readable(source: str) -> str:
    """Return JAX's name of an operation without what transformed it: ``CNN/Conv_0/conv_general_dilated, backward``.

    Of several operations that were put together, ``CNN/(add:mul)``, it is the first one's.
    """
    first = re.sub(r"(^|/)\(([^:]*):.*\)$", r"\1\2", source)
    plain = re.sub(r"^jit\(\w+\)/|while/body/(closed_call/)?", "", first)
    while (inner := re.sub(r"\b(?:jit|jvp|transpose|vmap|checkpoint)\(([^()]*)\)", r"\1", plain)) != plain:
        plain = inner
    return "/".join(part for part in plain.split("/") if part) + ", backward" * ("transpose(" in first)


def table(times: Times, program: Program, first: int, last: int) -> str:
    """Return where the time of the steps from `first` to `last` went, on the devices and on the host, as text.

    A line of a device is a place in the model, with its slowest operation and how many more there are.
    """

    def source(operation: Operation) -> str:
        """Return where an operation comes from, its own name where that is not known."""
        if program.name and operation.program != program.name:
            return operation.program
        return program.sources.get(operation.name) or operation.name

    places: dict[str, list[Row]] = defaultdict(list)
    for row in times.device:
        places[source(row.operation)].append(row)
    device = [Line(place, _called(found), *_total(found)) for place, found in places.items()]
    host = [Line(row.operation.name.lstrip("$"), "", row.calls, row.time) for row in times.host]
    each = times.whole / (last - first + 1)
    return "\n".join(
        [
            f"steps {first} to {last} took {times.whole / 1e6:.1f} ms, {each / 1e6:.2f} ms each",
            *_part("on the device", "operation", device, 15),
            *_part("on the host, meanwhile", "", host, 5),
        ]
    )


class Line(NamedTuple):
    """A line of the table."""

    place: str
    operation: str
    calls: int
    time: float


def _called(found: list[Row]) -> str:
    """Return the name of the first operation and how many more there are."""
    return found[0].operation.name + (f" +{len(found) - 1}" if len(found) > 1 else "")


def _total(found: Iterable[Row | Line]) -> tuple[int, float]:
    """Return the calls and nanoseconds of all of them."""
    found = list(found)
    return sum(row.calls for row in found), sum(row.time for row in found)


def _part(title: str, second: str, lines: list[Line], most: int) -> list[str]:
    """Return the slowest lines as text, with one for all others; shares are of them all."""
    slowest = sorted(lines, key=lambda line: -line.time)
    _, total = _total(lines)
    others = slowest[most:]
    shown = [*slowest[:most], *([Line(f"{len(others)} others", "", *_total(others))] if others else [])]
    return [
        f"{title:<50} {second:<26} {'calls':>6} {'ms':>8}  share",
        *(
            f"{_end(place, 50):<50} {operation[:26]:<26} {calls:>6} {time / 1e6:>8.2f} {time / (total or 1):>6.1%}"
            for place, operation, calls, time in shown
        ),
    ]


def _end(text: str, width: int) -> str:
    """Return the last parts of a path that fit, which tell more than its first ones."""
    while len(text) > width and "/" in text:
        text = "…/" + text.removeprefix("…/").partition("/")[2]
    return text if len(text) <= width else text[: width - 1] + "…"
