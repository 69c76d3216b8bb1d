import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LAWS = (
    "cnn",
    "lstm",
    "transformer",
    "parts",
    "streams",
    "elastic",
    "not_finite",
    "compiles_once",
    "communicates_gradients_alone",
    "refuses",
    "lays_out_by_rules",
)


@pytest.mark.slow
@pytest.mark.parametrize("law", LAWS)
def test_eight_devices(law, tmp_path, data_dir):
    command = [sys.executable, "-W", "error", "-m", "tests.devices.eight_devices", law, str(tmp_path), data_dir]
    run = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=600)
    assert run.returncode == 0 and run.stdout.splitlines()[-1] == f"holds {law}", run.stderr
