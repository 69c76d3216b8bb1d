import gzip
import json
import re

import jax
import jax.numpy as jnp
import pytest

from research.devices.profile import Profile, Window, window
from research.devices.slowest import Operation, Program, Row, Times, own_times, parse, read, readable, rows, table
from research.errors import UsageError

pytestmark = pytest.mark.optimized


def test_a_window_is_two_steps_of_the_run():
    assert window("10:20", total=20) == Window(10, 20) and window("0:1", total=1) == Window(0, 1)
    for text in ("10", "10:", ":20", "-1:5", "10:20:2", "1.5:3", "1 :2", "a:b", "", "１:２"):
        with pytest.raises(UsageError, match="START:STOP.* not "):
            window(text, total=100)
    for text in ("20:10", "5:5", "0:101"):
        with pytest.raises(UsageError, match=f"--profile {text} is no part of 100 steps"):
            window(text, total=100)


@jax.jit
def step(x):
    with jax.named_scope("layer"):
        y = x @ x
    return y / jnp.abs(y).sum()


def take(profile, calls, steps=1):
    """Take steps as a run does; return what is shown, and after which step."""
    x, shown = jnp.ones((17, 17)), []
    for call in range(calls):
        profile.begin(call * steps, steps, x)
        x = step(x)
        after = (call + 1) * steps
        if profile.ends(after):
            shown.append((after, profile.end(after, x, lambda x=x: step.lower(x).compile().as_text())))
    return shown


def test_exactly_the_steps_of_the_window_are_traced(tmp_path):
    profile = Profile(Window(3, 6), tmp_path / "profile")
    ((after, text),) = take(profile, 9)
    assert after == 6 and re.match(r"steps 4 to 6 took \d+\.\d ms, \d+\.\d\d ms each\n", text)
    times = read(tmp_path / "profile", "jit_step")
    assert {row.calls for row in times.device if row.operation.name.startswith(("dot", "ynn"))} == {3}
    assert re.search(r"^layer/dot_general +\S+ +3 +\d+\.\d\d +\d+\.\d%$", text, re.MULTILINE)
    assert sum(row.time for row in times.host) == pytest.approx(times.whole)
    (file,) = (tmp_path / "profile").glob("plugins/profile/*/*.trace.json.gz")  # what Perfetto opens
    names = {event.get("name") for event in json.loads(gzip.decompress(file.read_bytes()))["traceEvents"]}
    assert "profiled steps" in names


def test_calls_of_several_steps_are_traced_whole(tmp_path):
    ((after, text),) = take(Profile(Window(5, 6), tmp_path), calls=4, steps=4)
    assert after == 8 and text.startswith("steps 5 to 8 took")


def test_what_was_passed_is_not_traced(tmp_path):
    profile = Profile(Window(2, 4), tmp_path / "profile")
    profile.begin(4, 1, ())
    assert not profile.ends(5)
    profile.close()
    assert not (tmp_path / "profile").exists()


def test_own_times_are_without_what_is_inside():
    a, b, c, d = (Operation(name) for name in "abcd")
    events = [(20, 5, b), (0, 100, a), (10, 30, c), (50, 60, d), (25, 5, b)]  # d ends after a, by 10
    found = {row.operation: (row.calls, row.time) for row in rows(own_times(events))}
    assert found == {a: (1, 20), b: (2, 10), c: (1, 20), d: (1, 50)}


TEXT = """HloModule jit_train_step, is_scheduled=true

%inner (p: f32[3]) -> f32[3] {
  %p = f32[3]{0} parameter(0)
  ROOT %sine.1 = f32[3]{0} sine(%p), metadata={op_name="jit(train_step)/jvp(CNN)/block/sin" stack_frame_id=1}
}

ENTRY %main.2 (x: f32[3]) -> f32[3] {
  %x = f32[3]{0} parameter(0)
  %iota.3 = s32[3]{0} iota(), iota_dimension=0
  %fusion.4 = f32[3]{0} fusion(%x), kind=kLoop, calls=%inner
  ROOT %add.5 = f32[3]{0} add(%fusion.4, %iota.3), metadata={op_name="jit(train_step)/transpose(jvp(CNN))/head/add"}
}
"""


def test_an_operation_tells_where_it_comes_from():
    program = parse(TEXT)
    assert program.name == "jit_train_step"
    assert program.sources["add.5"] == "CNN/head/add, backward"
    assert program.sources["fusion.4"] == "CNN/block/sin"  # of the computation it calls
    assert program.sources["iota.3"] == "CNN/head/add, backward"  # of what uses it


def test_names_are_without_transformations():
    assert readable("jit(train_step)/jvp()/jit(_uniform)/while/body/closed_call/add") == "_uniform/add"
    assert readable("jit(train_step)/vmap(transpose(jvp(CNN)))/conv/mul") == "CNN/conv/mul, backward"
    assert readable("jit(train_steps)/while") == "while"
    assert readable("jit(f)/(transpose(jvp(CNN))/dot:jvp(CNN)/add)") == "CNN/dot, backward"


def test_the_table_adds_up_places():
    program = Program("jit_step", {"dot.1": "net/dot", "copy.2": "net/dot"})
    device = [
        Row(Operation("dot.1", "jit_step"), 2, 5e6),
        Row(Operation("dot.1", "jit_other"), 1, 2.5e6),
        Row(Operation("copy.2", "jit_step"), 4, 1.5e6),
        Row(Operation("iota.9", "jit_step"), 2, 1e6),
    ]
    shown = table(Times(8e6, device, [Row(Operation("$loop.py:7 take"), 2, 8e6)]), program, 3, 4).splitlines()
    assert [re.split(r" {2,}|(?<=\d) (?=\d)", line) for line in shown] == [
        ["steps 3 to 4 took 8.0 ms, 4.00 ms each"],
        ["on the device", "operation", "calls", "ms", "share"],
        ["net/dot", "dot.1 +1", "6", "6.50", "65.0%"],
        ["jit_other", "dot.1", "1", "2.50", "25.0%"],
        ["iota.9", "iota.9", "2", "1.00", "10.0%"],
        ["on the host, meanwhile", "calls", "ms", "share"],
        ["loop.py:7 take", "2", "8.00", "100.0%"],
    ]
