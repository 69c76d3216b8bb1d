"""Prepare a dataset once, so that training needs neither network nor TensorFlow.

python -m research.data prepare mnist --data-dir ~/tensorflow_datasets
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from research.data.batching.batches import RAM_BYTES
from research.data.storage import catalog
from research.data.storage.duplicates import count_duplicates
from research.data.storage.records import Source, read
from research.errors import UsageError
from research.interrupts import ends_at_ctrl_c


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code: 0 done, 2 bad usage, 130 stopped."""
    parser = argparse.ArgumentParser(prog="python -m research.data", description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    prepare = commands.add_parser("prepare", help="download a dataset, write it, count its examples and duplicates")
    prepare.add_argument("name", help='TFDS dataset, such as "mnist"; those that ship in a package need no download')
    prepare.add_argument("--data-dir", help="where to; default: TFDS_DATA_DIR, else ~/tensorflow_datasets")
    options = parser.parse_args(arguments)
    try:
        with ends_at_ctrl_c():
            print(report(catalog.prepare(options.name, options.data_dir)))
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def report(builder: Any) -> str:
    """Say where a prepared dataset is, and count its examples and exact copies."""
    order = ["train", "validation", "test"]
    names = sorted(builder.info.splits, key=lambda name: (order.index(name) if name in order else len(order), name))
    sources = {name: catalog.source(builder, name) for name in names}
    lines = [f"{builder.info.full_name} is prepared in {builder.data_path}"]
    lines += [f"  {name}: {len(source):,} examples" for name, source in sources.items()]
    if sum(split.num_bytes for split in builder.info.splits.values()) > RAM_BYTES:
        return "\n".join([*lines, "  duplicates: not counted, there is more than fits in memory"])
    for where, kind in count_duplicates({name: contents(source) for name, source in sources.items()}).items():
        if kind:
            lines.append(
                f"  duplicates {where} splits: " + ", ".join(f"{name} {count:,}" for name, count in kind.items())
            )
    return "\n".join(lines)


def contents(source: Source) -> Iterator[bytes]:
    """Yield what makes each example itself: its image, or everything it has where it has none."""
    for index in range(len(source)):
        (example,) = read(source, [index])
        parts = [example["image"]] if "image" in example else example.values()
        yield b"\0".join(np.asarray(part).tobytes() for part in parts)


if __name__ == "__main__":
    sys.exit(main())
