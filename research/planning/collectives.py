"""The communication of a compiled program, read from its text: what is exchanged, how often, and how many bytes."""

import dataclasses
import math
import re
from collections import defaultdict
from collections.abc import Iterator

KINDS = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "ragged-all-to-all", "collective-permute")


@dataclasses.dataclass(frozen=True)
class Collective:
    """Exchanges of one kind, among groups of one size, in one step.

    `bytes` of the whole array that a group exchanges, each time: of what is summed, gathered, or passed on.
    """

    kind: str
    group: int
    count: int
    bytes: int

    @property
    def sent(self) -> float:
        """Bytes that each device sends, by the algorithm that sends fewest (Chan et al., 2007, section 4)."""
        share = (self.group - 1) / self.group
        match self.kind:
            case "all-reduce":
                return 2 * share * self.bytes
            case "collective-permute":
                return self.bytes
            case _:
                return share * self.bytes


@dataclasses.dataclass(frozen=True)
class Communication:
    """The collectives of a step, and how many loops with any have a length that the text does not tell."""

    collectives: tuple[Collective, ...] = ()
    open_loops: int = 0

    @property
    def sent(self) -> float:
        """Bytes that each device sends in a step."""
        return sum(each.sent for each in self.collectives)


@dataclasses.dataclass(frozen=True)
class Operation:
    """One line of a computation."""

    name: str
    kind: str
    shape: str
    operands: tuple[str, ...]
    text: str

    def called(self) -> Iterator[tuple[str, str]]:
        """Yield (attribute, computation) for what it calls."""
        for attribute, names in re.findall(
            r"\b(calls|body|condition|branch_computations)=\{?([^\s{}]+(?:, %[\w.\-]+)*)", self.text
        ):
            for name in re.findall(r"[\w.\-]+", names):
                yield attribute, name

    def attribute(self, pattern: str) -> str | None:
        """Return the first group of a pattern where the line has it."""
        found = re.search(pattern, self.text)
        return found and found.group(1)


Program = dict[str, dict[str, Operation]]


def communication(text: str, devices: int) -> Communication:
    """Return the collectives of an optimised HLO module for so many devices.

    What a loop contains counts as often as it runs: as XLA says where it does, else by the constant that the loop
    counts to, else once. A pair of start and done counts once, as do the pieces of a collective that the TPU compiler
    fuses with a computation; its sum whose parts are kept apart is a reduce-scatter.
    """
    program, entry = parse(text)
    totals: dict[tuple[str, int], list[int]] = defaultdict(lambda: [0, 0])
    open_loops = 0
    for region, times, known in _regions(program, entry, 1):
        seen = set[tuple[str, str]]()
        for operation, home in _inlined(program, region):
            kind = _kind(operation, home)
            if kind is None:
                continue
            channel = operation.attribute(r"channel_id=(\d+)") or operation.name
            if (kind, channel) in seen:
                continue
            seen.add((kind, channel))
            group = _group(operation, devices)
            totals[kind, group][0] += times
            totals[kind, group][1] += times * _bytes(operation, kind, group)
        open_loops += bool(seen) and not known
    found = (Collective(kind, group, count, size) for (kind, group), (count, size) in totals.items() if group > 1)
    return Communication(tuple(sorted(found, key=lambda each: -each.sent)), open_loops)


def parse(text: str) -> tuple[Program, str]:
    """Return the operations of each computation by name, and the name of the one that is run."""
    program: Program = {}
    entry, current = "", dict[str, Operation]()
    for line in text.splitlines():
        if head := re.match(r"(ENTRY )?%?([\w.\-]+) \(.*\{$", line):
            current = program[head.group(2)] = {}
            entry = head.group(2) if head.group(1) else entry
        elif found := re.match(r"\s+(?:ROOT )?%?([\w.\-]+) = ", line):
            operation = _operation(found.group(1), line[found.end() :])
            current["ROOT" if line.lstrip().startswith("ROOT") else operation.name] = operation
    return program, entry


def _operation(name: str, text: str) -> Operation:
    """Return what stands behind `name = `: a shape, which may be a tuple of them, the kind and its operands."""
    end = _closing(text, 0) if text.startswith("(") else text.index(" ")
    kind, _, rest = text[end:].strip().partition("(")
    inside = rest[: _closing(f"({rest}", 0) - 2]
    operands = tuple(re.findall(r"%([\w.\-]+)", inside)) or (inside,)
    return Operation(name, kind, text[:end], operands, rest)


def _closing(text: str, start: int) -> int:
    """Return the position after the parenthesis that closes the one at `start`."""
    depth = 0
    for position in range(start, len(text)):
        depth += (text[position] == "(") - (text[position] == ")")
        if not depth:
            return position + 1
    return len(text)


def _regions(program: Program, name: str, times: int, known: bool = True) -> Iterator[tuple[str, int, bool]]:
    """Yield (computation, how often it runs, whether that is certain) for the entry, each loop body and branch."""
    yield name, times, known
    for operation, _ in _inlined(program, name):
        if operation.kind == "while":
            count = _trips(program, operation)
            body = dict(operation.called())["body"]
            yield from _regions(program, body, times * (count or 1), known and count is not None)
        elif operation.kind == "conditional":
            for _, branch in operation.called():
                yield from _regions(program, branch, times, known)


def _inlined(program: Program, name: str) -> Iterator[tuple[Operation, str]]:
    """Yield (operation, name of its computation), following it into fusions, calls and asynchronous computations."""
    for operation in program.get(name, {}).values():
        yield operation, name
        if operation.kind in ("fusion", "call", "async-start"):
            for attribute, called in operation.called():
                if attribute == "calls":
                    yield from _inlined(program, called)


def _kind(operation: Operation, home: str) -> str | None:
    """Return which collective an operation is or begins, None where it is none."""
    kind = operation.kind.removesuffix("-start")
    if kind not in KINDS:
        return None
    return "reduce-scatter" if kind == "all-reduce" and home.startswith("all-reduce-scatter") else kind


def _bytes(operation: Operation, kind: str, group: int) -> int:
    """Return the bytes of the whole array that a group exchanges."""
    shape = operation.shape
    if operation.kind.endswith("-start") and shape.startswith("(") and kind != "all-reduce":
        shape = _parts(shape[1:-1])[1]  # (what is given, what comes out, ...)
    size = sum(
        math.prod(int(side) for side in sides.split(",") if side) * _width(name)
        for name, sides in re.findall(r"([a-z]+\d*\w*)\[([\d,]*)\]", shape)
    )
    return size * group if operation.kind.startswith("reduce-scatter") else size


def _parts(tuple_shape: str) -> list[str]:
    """Return the items of a tuple's shape, without its parentheses, split at the commas between them."""
    parts, depth = [""], 0
    for character in re.sub(r"/\*.*?\*/", "", tuple_shape):
        depth += (character in "([{") - (character in ")]}")
        if character == "," and not depth:
            parts.append("")
        else:
            parts[-1] += character
    return parts


def _width(name: str) -> int:
    """Return the bytes of one element: f32, bf16, pred, f8e4m3fn ..."""
    bits = re.search(r"\d+", name)
    return 1 if bits is None else max(int(bits.group()) // 8, 1)


def _group(operation: Operation, devices: int) -> int:
    """Return how many devices exchange with each other."""
    if operation.kind.startswith("collective-permute"):
        return 2 if operation.attribute(r"source_target_pairs=\{\{(\d+)") else devices
    if listed := operation.attribute(r"replica_groups=\{\{([\d,]+)"):
        return len(listed.split(","))
    if counted := operation.attribute(r"replica_groups=\[\d+,(\d+)\]"):
        return int(counted)
    if named := re.search(r"replica_groups=mesh\[([^\]]*)\][^{}]*\{([^}]*)\}", operation.text):
        sizes = dict(re.findall(r"'([^']+)'=(\d+)", named.group(1)))
        # A part of an axis is written 'axis':(sizes before)size.
        axes = re.findall(r"'([^']+)'(?::\(\d+\)(\d+))?", named.group(2))
        return math.prod(int(part or sizes[axis]) for axis, part in axes)
    return devices


def _trips(program: Program, loop: Operation) -> int | None:
    """Return how often a loop runs, None where that cannot be read."""
    if known := loop.attribute(r'"known_trip_count":\{"n":"(\d+)"'):
        return int(known)
    parts = dict(loop.called())
    condition, body = program.get(parts["condition"], {}), program.get(parts["body"], {})
    test = condition.get("ROOT")
    if test is None or test.kind != "compare" or "direction=LT" not in test.text:
        return None
    counter, limit = (condition.get(name) for name in test.operands)
    index = None if counter is None else counter.attribute(r"index=(\d+)")
    end = _constant(limit)
    if index is None or end is None or "ROOT" not in body:
        return None
    following = body.get(body["ROOT"].operands[int(index)])
    if following is None or following.kind != "add":
        return None
    steps = [step for step in (_constant(body.get(name)) for name in following.operands) if step]
    return math.ceil(end / steps[0]) if steps else None


def _constant(operation: Operation | None) -> int | None:
    """Return the number that an operation is, None where it is another one."""
    if operation is None or operation.kind != "constant" or not operation.operands[0].lstrip("-").isdigit():
        return None
    return int(operation.operands[0])
