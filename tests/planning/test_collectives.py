import json

import pytest

from research.planning.collectives import Collective, Communication, communication
from tests.training.forking import call, finish

pytestmark = pytest.mark.optimized

EIGHT_DEVICES = """
import dataclasses, json
import jax, jax.numpy as jnp
jax.config.update("jax_num_cpu_devices", 8)
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P
from research.planning.collectives import communication

mesh = jax.make_mesh((2, 4), ("data", "fsdp"), axis_types=(jax.sharding.AxisType.Auto,) * 2)

def found(function, *arguments, spec):
    shaped = [jax.ShapeDtypeStruct(shape, jnp.float32, sharding=NamedSharding(mesh, part)) for shape, part in arguments]
    compiled = jax.jit(function, out_shardings=NamedSharding(mesh, spec)).lower(*shaped).compile()
    return dataclasses.asdict(communication(compiled.as_text(), 8))

def local(function, specs, out):
    return jax.shard_map(function, mesh=mesh, in_specs=specs, out_specs=out, check_vma=False)

def layers(x, w):
    def layer(x, w):
        return jnp.tanh(x @ jax.lax.all_gather(w, "fsdp", axis=1, tiled=True)), None

    return jax.lax.scan(layer, x, w)[0]

print(json.dumps({
    "sum": found(local(lambda x: jax.lax.psum(x, "fsdp"), P(None, "fsdp"), P()), ((3, 20), P(None, "fsdp")), spec=P()),
    "gathered in a loop": found(
        local(layers, (P("data"), P(None, None, "fsdp")), P("data")),
        ((16, 32), P("data")), ((11, 32, 32), P(None, None, "fsdp")), spec=P("data"),
    ),
    "scattered": found(
        local(lambda x: jax.lax.psum_scatter(x, ("data", "fsdp"), tiled=True), P(), P(("data", "fsdp"))),
        ((16, 5), P()), spec=P(("data", "fsdp")),
    ),
    "passed on": found(
        local(lambda x: jax.lax.ppermute(x, "fsdp", [(i, (i + 1) % 4) for i in range(4)]), P("fsdp"), P("fsdp")),
        ((4, 7), P("fsdp")), spec=P("fsdp"),
    ),
    "exchanged": found(
        local(lambda x: jax.lax.all_to_all(x, "data", 1, 0, tiled=True), P("data"), P(None, "data")),
        ((4, 6), P("data")), spec=P(None, "data"),
    ),
    "alone": found(lambda x: x * 2, ((8, 3), P("data")), spec=P("data")),
}))
"""


@pytest.fixture(scope="module")
def on_eight_devices():
    """Communication of small programs, compiled where there are eight devices."""
    ended = finish(*call(exec, EIGHT_DEVICES, {}))
    assert ended.code == 0, ended.text
    return {
        name: Communication(tuple(Collective(**each) for each in found["collectives"]), found["open_loops"])
        for name, found in json.loads(ended.text.splitlines()[-1]).items()
    }


def test_what_the_cpu_compiler_writes_is_read(on_eight_devices):
    def only(kind, group, count, size):
        return Communication((Collective(kind, group, count, size),))

    assert on_eight_devices == {
        "sum": only("all-reduce", 4, 1, 3 * 5 * 4),
        "gathered in a loop": only("all-gather", 4, 11, 11 * 32 * 32 * 4),
        "scattered": only("reduce-scatter", 8, 1, 16 * 5 * 4),
        "passed on": only("collective-permute", 2, 1, 7 * 4),
        "exchanged": only("all-to-all", 2, 1, 2 * 6 * 4),
        "alone": Communication(),
    }


def test_bytes_sent_are_those_of_the_best_algorithm():
    assert Collective("all-reduce", 4, 1, 1000).sent == 1500
    assert Collective("all-gather", 4, 1, 1000).sent == 750
    assert Collective("reduce-scatter", 5, 1, 1000).sent == 800
    assert Collective("collective-permute", 2, 1, 1000).sent == 1000


# Written as the TPU compiler writes them: a gather that is fused with a computation in three pieces, a sum of which
# each device keeps a part, and loops that do not say how often they run.
TPU = """HloModule jit_step, is_scheduled=true

%start (p: bf16[16,32]) -> (bf16[16,32], bf16[64,32], u32[]) {
  %p = bf16[16,32]{1,0:T(8,128)(2,1)} parameter(0)
  %all-gather.1 = bf16[64,32]{1,0:T(8,128)(2,1)} all-gather(%p), channel_id=8, GROUPS
  ROOT %call.1 = (bf16[16,32]{1,0}, bf16[64,32]{1,0}, u32[]{:S(2)}) custom-call(%all-gather.1)
}

%all-reduce-scatter.clone (input: f32[64,32]) -> f32[16,32] {
  %input = f32[64,32]{1,0} parameter(0)
  %all-reduce.4 = f32[64,32]{1,0} all-reduce(%input), channel_id=6, replica_groups={{0,1,2,3},{4,5,6,7}}, to_apply=%add
  %zero = s32[]{:T(128)} constant(0)
  ROOT %dynamic-slice = f32[16,32]{1,0} dynamic-slice(%all-reduce.4, %zero, %zero), dynamic_slice_sizes={16,32}
}

%done (q: (bf16[16,32], bf16[64,32], u32[])) -> bf16[64,32] {
  %q = bf16[16,32]{1,0} parameter(0)
  %all-gather.2 = bf16[64,32]{1,0} all-gather(%q), channel_id=8, GROUPS
  ROOT %call.2 = bf16[64,32]{1,0} custom-call(%all-gather.2)
}

%body (carry: (s32[], f32[64,32])) -> (s32[], f32[64,32]) {
  %carry = (s32[]{:T(128)}, f32[64,32]{1,0}) parameter(0)
  %index = s32[]{:T(128)} get-tuple-element(%carry), index=0
  %value = f32[64,32]{1,0} get-tuple-element(%carry), index=1
  %step = s32[]{:T(128)} constant(STEP)
  %next = s32[]{:T(128)} add(%index, %step)
  %begun = (bf16[16,32]{1,0}, bf16[64,32]{1,0}, u32[]{:S(2)}) fusion(%value), kind=kCustom, calls=%start
  %kept = f32[16,32]{1,0} fusion(%value), kind=kCustom, calls=%all-reduce-scatter.clone
  %whole = bf16[64,32]{1,0} fusion(%begun), kind=kCustom, calls=%done
  ROOT %tuple = (s32[]{:T(128)}, f32[64,32]{1,0}) tuple(%next, %value)
}

%condition (carry.1: (s32[], f32[64,32])) -> pred[] {
  %limit = s32[]{:T(128)} constant(12)
  %carry.1 = (s32[]{:T(128)}, f32[64,32]{1,0}) parameter(0)
  %at = s32[]{:T(128)} get-tuple-element(%carry.1), index=0
  ROOT %lt = pred[]{:T(512)} compare(%at, LIMIT), direction=LT
}

ENTRY %main (argument: f32[64,32]) -> f32[64,32] {
  %argument = f32[64,32]{1,0} parameter(0)
  %first = s32[]{:T(128)} constant(0)
  %initial = (s32[]{:T(128)}, f32[64,32]{1,0}) tuple(%first, %argument)
  %while = (s32[]{:T(128)}, f32[64,32]{1,0}) while(%initial), condition=%condition, body=%body
  %part = f32[8,32]{1,0} get-tuple-element(%while), index=1
  %all-gather-start = (f32[8,32]{1,0}, f32[16,32]{1,0}) all-gather-start(%part), replica_groups=[4,2]<=[8]
  %all-gather-done = f32[16,32]{1,0} all-gather-done(%all-gather-start)
  ROOT %result = f32[64,32]{1,0} get-tuple-element(%while), index=1
}
""".replace("GROUPS", "replica_groups=mesh['axis_0'=4,'axis_1'=2] {'axis_0'}, dimensions={0}")


@pytest.mark.parametrize(("step", "times"), ((1, 12), (5, 3)))
def test_what_the_tpu_compiler_writes_is_read(step, times):
    found = communication(TPU.replace("STEP", str(step)).replace("LIMIT", "%limit"), 8)
    assert set(found.collectives) == {
        Collective("all-gather", 4, times, times * 64 * 32 * 2),
        Collective("reduce-scatter", 4, times, times * 64 * 32 * 4),
        Collective("all-gather", 2, 1, 16 * 32 * 4),
    }
    assert found.open_loops == 0


def test_a_loop_of_unknown_length_counts_once_and_is_named():
    found = communication(TPU.replace("STEP", "1").replace("LIMIT", "%at"), 8)
    assert Collective("reduce-scatter", 4, 1, 64 * 32 * 4) in found.collectives
    assert found.open_loops == 1


def test_groups_of_several_axes_multiply():
    text = TPU.replace("STEP", "1").replace("LIMIT", "%limit")
    both = text.replace("{'axis_0'}", "{'axis_0','axis_1'}")
    assert any(each.group == 8 for each in communication(both, 8).collectives)
    part = text.replace("{'axis_0'}", "{'axis_0':(2)2,'axis_1'}")
    assert Collective("all-gather", 4, 12, 12 * 64 * 32 * 2) in communication(part, 8).collectives
    ordered = text.replace("'axis_1'=2] {", "'axis_1'=2], device_ids=([4,2]T(1,0)) {")
    assert communication(ordered, 8) == communication(text, 8)
