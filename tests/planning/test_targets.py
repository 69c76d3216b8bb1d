import importlib.util

import jax
import pytest

from research.errors import UsageError
from research.planning.chips import CHIPS
from research.planning.gpus import GPUS
from research.planning.targets import aim, installed, parse_target
from tests.planning.compilers import gpu_compiler, tpu_compiler


@pytest.mark.parametrize(
    ("text", "devices", "hosts"),
    (
        ("cpu", 1, 1),
        ("cpu:8", 8, 1),
        ("v5e:1x1", 1, 1),
        ("v5e:16x16", 256, 1),
        ("v5p:2x2x1", 4, 1),
        ("v4:2x2x1", 4, 1),
        ("tpu7x:2x2x1", 8, 1),  # two devices a chip
        ("h100", 1, 1),
        ("h100:8", 8, 1),
        ("b200:16", 16, 2),
    ),
)
def test_a_target_says_how_many_devices_there_are(text, devices, hosts):
    target = parse_target(text)
    assert (target.devices, target.hosts) == (devices, hosts)


@pytest.mark.parametrize(
    ("text", "sentence"),
    (
        ("h10:8", 'no chip "h10" to plan for; did you mean "h100"'),
        ("v5e", "give the shape of a slice, such as v5e:2x2"),
        ("v5e:4", "give the shape of a slice"),
        ("v5e:0x2", "give the shape of a slice"),
        ("v5e:3x3", "v5e does not come as 3x3"),
        ("h100:2x4", "give their number, such as h100:8"),
        ("cpu:", "give their number"),
        ("h100:12", "multiple of 8"),
    ),
)
def test_what_is_wrong_with_a_target_is_said(text, sentence):
    with pytest.raises(UsageError, match=sentence):
        parse_target(text)


def test_more_devices_than_a_process_began_with_are_refused():
    count = len(jax.devices("cpu"))
    assert aim(parse_target(f"cpu:{count}")).devices == tuple(jax.devices("cpu"))
    with pytest.raises(UsageError, match="plan before anything else"):
        aim(parse_target(f"cpu:{count + 1}"))


@pytest.mark.parametrize(("text", "extra"), (("v5e:1x1", "plan-tpu"), ("h100", "plan-gpu")))
def test_without_a_compiler_devices_are_simulated_and_the_extra_is_named(monkeypatch, text, extra):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    aimed = aim(parse_target(text))
    assert [device.platform for device in aimed.devices] == ["cpu"]
    assert f"pip install 'ceteris-research[{extra}]'" in aimed.missing


def test_every_gpu_can_be_described():
    gpus = {chip.name for chip in CHIPS.values() if chip.platform == "cuda"}
    assert set(GPUS) == gpus
    for name, gpu in GPUS.items():
        # What the driver gives and what the vendor states agree to a tenth, so that neither is of another model.
        assert gpu.memory == pytest.approx(CHIPS[name].memory, rel=0.1)
        assert gpu.bandwidth == pytest.approx(CHIPS[name].bandwidth, rel=0.1)


def test_every_figure_has_a_source_and_devices_share_a_chip():
    for chip in CHIPS.values():
        figures = (chip.bfloat16, chip.float32, chip.memory, chip.bandwidth, chip.links)
        assert (chip.source is not None) == any(figure is not None for figure in figures)
    assert CHIPS["tpu7x"].device().memory == 96 * 2**30
    assert CHIPS["v3"].device().memory is None


@tpu_compiler
def test_the_tpu_compiler_knows_every_tpu():
    shapes = {"v2": "2x2", "v3": "2x2", "v4": "2x2x1", "v5e": "1x1", "v5p": "2x2x1", "v6e": "8x8", "tpu7x": "2x2x1"}
    assert set(shapes) == {chip.name for chip in CHIPS.values() if chip.platform == "tpu"}
    for name, shape in shapes.items():
        target = parse_target(f"{name}:{shape}")
        assert installed(target)
        aimed = aim(target)
        assert (len(aimed.devices), aimed.devices[0].platform, aimed.missing) == (target.devices, "tpu", None)


@gpu_compiler
def test_the_gpu_compiler_takes_every_description():
    for name, gpu in GPUS.items():
        aimed = aim(parse_target(f"{name}:8"))
        assert (len(aimed.devices), aimed.devices[0].device_kind, aimed.missing) == (8, gpu.title, None)
        sharding = jax.sharding.SingleDeviceSharding(aimed.devices[0])
        x = jax.ShapeDtypeStruct((64, 64), "bfloat16", sharding=sharding)
        assert jax.jit(lambda x: x @ x).lower(x).compile().memory_analysis().argument_size_in_bytes == 2 * 64 * 64
