"""Digests of programs tell one program from another, and nothing else apart."""

import os
import subprocess
import sys

import pytest

from research.experiment import replace, to_json
from research.training.identity.programs import canonical, programs

TELL = """
from research.experiment import from_json
from research.training.identity.programs import programs
print(sorted(programs(from_json(open("tiny.json").read()), "other").items()))
"""


@pytest.fixture(scope="module")
def known(tiny):
    return programs(tiny, "code")


def test_arguments_of_a_program_make_no_other_one(tiny, known):
    same = {"seed": 8, "model.dropout": 0.5, "optimizer.learning_rate": 0.5, "task.label_smoothing": 0.3}
    assert programs(replace(tiny, same), "code") == known
    assert known.keys() == {"initialization", "step", "evaluation"}


@pytest.mark.parametrize(
    ("field", "value", "differing"),
    [
        ("model.channels", (3, 6), {"initialization", "step", "evaluation"}),
        ("model.dropout", 0.0, {"step"}),
        ("optimizer.clip_norm", 0.0, {"step"}),
        ("batch_size", 11, {"step", "evaluation"}),
    ],
)
def test_another_program_is_told_apart(tiny, known, field, value, differing):
    found = programs(replace(tiny, {field: value}), "code")
    assert {name for name in known if known[name] != found[name]} == differing


def test_it_is_one_in_any_process_and_on_any_devices(tiny, known, tmp_path):
    """Lowered anew in a process of its own, for which eight devices are simulated."""
    (tmp_path / "tiny.json").write_text(to_json(tiny))
    environment = {
        **os.environ,
        "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
        "JAX_ENABLE_COMPILATION_CACHE": "false",
    }
    command = [sys.executable, "-c", TELL]
    told = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert told.stdout.strip() == str(sorted(known.items())), told.stderr


TEXT = """module @jit_step attributes {mhlo.num_partitions = 1 : i32} {
  func.func public @main(%arg0: tensor<f32>) -> (tensor<f32> {jax.result_info = "result['loss']"}) {
    %0 = call @relu_3(%arg0) : (tensor<f32>) -> tensor<f32>
    %1 = stablehlo.custom_call @lapack(%0) : (tensor<f32>) -> tensor<f32>
    return %1 : tensor<f32>
  }
  func.func private @relu_3(%arg0: tensor<f32>) -> tensor<f32> {
    return %arg0 : tensor<f32>
  }
}"""


def test_names_of_modules_functions_and_results_do_not_enter():
    renamed = TEXT.replace("relu_3", "clipped").replace("jit_step", "jit_other").replace("'loss'", "'cost'")
    assert canonical(renamed) == canonical(TEXT)
    for old, new in (("@lapack", "@other"), ("call @relu_3(", "call @main("), ("return %1", "return %0")):
        assert canonical(TEXT.replace(old, new)) != canonical(TEXT), old
