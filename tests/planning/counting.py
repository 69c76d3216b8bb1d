"""What a run does, at its smallest: it adds up numbers over all processes, saves, stops when told and resumes."""

import argparse
import os
import sys
import time
from pathlib import Path

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from research.devices import barrier, is_main_process, join, leave, stop_agreed, whole
from research.errors import RunError, UsageError

EVERY = 5  # steps from one save to the next


def expected(steps: int, devices: int) -> int:
    return devices * steps * (steps + 1) // 2


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--fails", type=int, nargs=2, default=(-1, -1), help="process and step")
    parser.add_argument("--timeout", type=float, default=60)
    options = parser.parse_args()
    folder = options.folder
    try:
        join(timeout=options.timeout)
    except (UsageError, RunError) as error:
        print(error, file=sys.stderr)
        leave(1)
    index = jax.process_index()
    with (folder / f"pids-{index}").open("a") as file:
        file.write(f"{os.getpid()}\n")
    mesh = Mesh(np.array(jax.devices()), ("data",))
    add = jax.jit(lambda parts: parts.sum(), out_shardings=NamedSharding(mesh, PartitionSpec()))
    step, total = map(int, (folder / "saved").read_text().split()) if (folder / "saved").exists() else (0, 0)
    while step < options.steps:
        parts = np.full(len(mesh.devices), step + 1)
        divided = NamedSharding(mesh, PartitionSpec("data"))
        array = jax.make_array_from_callback(parts.shape, divided, parts.__getitem__)
        assert whole({"array": array})["array"].tolist() == parts.tolist()
        total += int(add(array))
        step += 1
        time.sleep(0.03)
        if [index, step] == list(options.fails):
            raise ArithmeticError(f"process {index} cannot continue")
        stop = stop_agreed()
        if (stop or step % EVERY == 0) and is_main_process():
            (folder / "partial").write_text(f"{step} {total}")
            (folder / "partial").replace(folder / "saved")
        if stop:
            barrier("saved")
            (folder / f"stopped-{index}").write_text(str(step))
            sys.exit(75)
    if is_main_process():
        time.sleep(0.2)  # the others wait for it at the end
        (folder / "result").write_text(str(total))
        print(f"total {total}")


if __name__ == "__main__":
    main()
