"""Every ratio that the benchmarks give, on one page, and whether any fell since the commit that was measured before.

    python -m benchmarks.all [--quick] [--only NAME ...]

Each benchmark is a process of its own, one after the other, and writes its own files; with --quick each takes a few
rounds of its smallest sizes, together a quarter of an hour on two cores. Those that compare with PyTorch are left out
where --peer or CETERIS_PEER names no Python that has it.

The page is all.md in the --output folder. `benchmarks/history.csv` gets a row a ratio, in place of those that the same
commit had. A ratio is one number over another of the same run, so it can be compared as far as ratios can; one that is
worse than that of the commit before it by more than a tenth is named, and the exit code is then 1.
"""

import argparse
import csv
import dataclasses
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.machine import heading, machine
from benchmarks.writing import add_peer, parser_of, without_peer

HISTORY = Path(__file__).with_name("history.csv")
WORSE = 1.1
RATIOS = ("ratio", "times data", "x half")
"""What ratios are called in what a benchmark writes."""
LEVELS = ("families", "models", "table", "tables", "rows")
"""What only says that there are several."""


@dataclasses.dataclass(frozen=True)
class Part:
    """A benchmark and how it is called."""

    name: str
    quick: str = ""
    """Words that make it short."""
    better: str = "lower"
    """Whether its ratios should be lower or higher."""
    peer: bool = False
    """Whether it compares with PyTorch."""


PARTS = (
    Part("flax_step", "--rounds 3 --whole_rounds 1"),
    Part("loop", "--rounds 3"),
    Part("startup", "--experiment digits_cnn --rounds 1"),
    Part("scan_layers", "--layers 8 --rounds 1"),
    Part("attention", "--length 64 256 1024 --rounds 1"),
    Part("decode", "--batch 1 --tokens 128 --rounds 1", better="higher"),
    Part("growth", "--quick --kind csv npz text"),
    Part("input", "--batches 200 --rounds 1 --sides device ram grain"),
    Part("train_step", "--model mlp cnn --rounds 2 --sides here untuned torch", better="higher", peer=True),
)


class Ratio(NamedTuple):
    """One ratio, and where it stands."""

    commit: str
    measured: str
    benchmark: str
    name: str
    better: str
    value: float


def ratios(content: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, float]]:
    """Yield names and ratios of what a benchmark wrote; a side's ratio to itself is none."""
    if isinstance(content, Mapping):
        for key, value in content.items():
            if key in RATIOS and isinstance(value, int | float):
                if value != 1:
                    yield " ".join((*path, key) if key != "ratio" else path), float(value)
            else:
                yield from ratios(value, path if key in LEVELS else (*path, key))
    elif isinstance(content, list):
        for value in (each for each in content if isinstance(each, Mapping)):
            label = [f"{key} {each}" for key, each in value.items() if isinstance(each, int | str)]
            yield from ratios(value, (*path, *label))


def worse(found: Sequence[Ratio], before: Sequence[Ratio]) -> list[tuple[Ratio, float]]:
    """Return what is worse by more than a tenth than in the commit that was measured last, and what it was there."""
    if not before:
        return []
    last = {(each.benchmark, each.name): each.value for each in before if each.commit == before[-1].commit}
    pairs = [(each, last[each.benchmark, each.name]) for each in found if (each.benchmark, each.name) in last]
    fell = {"lower": lambda new, old: new / old, "higher": lambda new, old: old / new}
    return [(each, old) for each, old in pairs if fell[each.better](each.value, old) > WORSE]


def read(path: Path) -> list[Ratio]:
    """Return all ratios that are kept, in the order of their measurement."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return [Ratio(**{**row, "value": float(row["value"])}) for row in csv.DictReader(file)]


def keep(path: Path, kept: Sequence[Ratio]) -> None:
    """Write ratios."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(Ratio._fields)
        writer.writerows((*each[:-1], f"{each.value:.4g}") for each in kept)


def page(title: str, found: Sequence[Ratio], fallen: Sequence[tuple[Ratio, float]]) -> str:
    """Return the page as Markdown."""
    lines = [f"# {title}", "", "| benchmark | what | ratio | better | was |", "| --- | --- | --- | --- | --- |"]
    old = dict(fallen)
    for each in found:
        was = f"{old[each]:.3g}" if each in old else ""
        lines.append(f"| {each.benchmark} | {each.name} | {each.value:.3g} | {each.better} | {was} |")
    return "\n".join(lines) + "\n"


def run(part: Part, quick: bool, output: Path, peer: str | None) -> Any:
    """Return what a benchmark writes; None where it fails, which it says itself."""
    words = part.quick.split() if quick else []
    with_peer = ["--peer", peer] if part.peer and peer else []
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{part.name}", *words, "--output", str(output), *with_peer]
    )
    return json.loads((output / f"{part.name}.json").read_text()) if done.returncode == 0 else None


def main() -> int:
    """Run them, write the page and the history, and return the exit code."""
    parser = parser_of(__doc__, "all")
    parser.add_argument("--quick", action="store_true", help="a few rounds of small sizes")
    parser.add_argument("--only", nargs="+", choices=[part.name for part in PARTS], help="leave out all others")
    add_peer(parser, "torch")
    arguments: argparse.Namespace = parser.parse_args()
    on = machine()
    now, found, failed = time.strftime("%Y-%m-%d", time.gmtime()), [], []
    for part in PARTS:
        if arguments.only and part.name not in arguments.only:
            continue
        if part.peer and not arguments.peer:
            without_peer(part.name)
            continue
        content = run(part, arguments.quick, arguments.output, arguments.peer)
        if content is None:
            failed.append(part.name)
            continue
        for name, value in ratios({key: each for key, each in content.items() if key != "machine"}):
            found.append(Ratio(on["commit"], now, part.name, name, part.better, value))
    before = [each for each in read(HISTORY) if each.commit != on["commit"]]
    fallen = worse(found, before)
    arguments.output.mkdir(parents=True, exist_ok=True)
    text = page(heading(on).replace("\n", ", "), found, fallen)
    (arguments.output / "all.md").write_text(text)
    anew = {each.benchmark for each in found}
    keep(HISTORY, [each for each in read(HISTORY) if each.commit != on["commit"] or each.benchmark not in anew] + found)
    print(f"\n{text}\n{arguments.output / 'all.md'}\n{HISTORY}")
    for each, old in fallen:
        print(f"worse: {each.benchmark} {each.name} {each.value:.3g}, before {old:.3g}", file=sys.stderr)
    for name in failed:
        print(f"failed: {name}", file=sys.stderr)
    return 1 if fallen or failed else 0


if __name__ == "__main__":
    sys.exit(main())
