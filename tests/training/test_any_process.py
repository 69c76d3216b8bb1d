"""No number, file or name depends on the process: not on its number, nor on the order that its sets of words have."""

import concurrent.futures
import os
import subprocess
import sys

import pytest

from tests.training import forking

HASHES = ("1", "2")


@pytest.mark.slow
@pytest.mark.fault("F8")
def test_processes_with_other_hashes_prepare_and_train_the_same(tmp_path):
    """Each prepares every dataset, learns every vocabulary and trains for itself."""

    def said(seed):
        command = [sys.executable, "-m", "tests.training.any_process", str(tmp_path / seed)]
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        done = subprocess.run(command, cwd=forking.ROOT, env=environment, capture_output=True, text=True, timeout=240)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    with concurrent.futures.ThreadPoolExecutor() as pool:
        one, other = pool.map(said, HASHES)
    assert one == other
    for name in ("experiment.json", "metrics.jsonl"):
        assert len({(tmp_path / seed / "run" / name).read_bytes() for seed in HASHES}) == 1
