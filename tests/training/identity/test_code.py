"""A run of other code is not resumed, nor taken for finished, without a word."""

import dataclasses
import json
import shutil

import pytest

from research.errors import UsageError
from research.experiment import Placement
from research.training import Interrupted, identity, train
from research.training.identity import code as module
from research.training.identity.code import UNKNOWN, Code, changed, current
from research.training.storage import sealed
from research.training.storage.folder import Folder

pytestmark = pytest.mark.digested
CODE = Code({"a": "step:1", "b": "host:2", "c": "step:3"}, {"step": "p", "evaluation": "q"}, {"jax": "1"})
INSIDE = {**CODE.modules, "a": "step:9"}


def other(**changes):
    return dataclasses.replace(CODE, **changes)


@pytest.mark.parametrize(
    ("now", "names"),
    [
        pytest.param(CODE, (), id="nothing"),
        pytest.param(other(modules=INSIDE), (), id="inside of equal programs"),
        pytest.param(other(modules={**CODE.modules, "d": "step:9"}), (), id="a module more inside of them"),
        pytest.param(other(modules={"a": "step:1", "b": "host:2"}), (), id="a module less inside of them"),
        pytest.param(other(modules={**CODE.modules, "b": "host:9"}), ("b",), id="on the host"),
        pytest.param(other(modules={**CODE.modules, "d": "host:9"}), ("d",), id="a module more on the host"),
        pytest.param(other(modules={**CODE.modules, "a": "host:1"}), ("a",), id="from inside to the host"),
        pytest.param(other(modules={**INSIDE, "b": "host:9"}), ("b",), id="both"),
        pytest.param(other(modules=INSIDE, programs={**CODE.programs, "step": "r"}), ("a",), id="in another program"),
        pytest.param(other(modules=INSIDE, versions={"jax": "2"}), ("a",), id="inside under other versions"),
        pytest.param(other(versions={"jax": "2"}), (), id="versions alone"),
        pytest.param(other(versions={"jax": "2"}, programs={"step": "r"}), (), id="versions and so programs"),
    ],
)
def test_code_inside_is_judged_by_programs_and_code_on_the_host_by_itself(now, names):
    assert changed(CODE, now) == names


def rewrite(folder, **changes):
    """Have code.json of a folder say what other code would have written."""
    content = json.loads(folder.code.read_text())
    for name, of_name in changes.items():
        content[name] = {**content[name], **of_name}
    sealed.write(folder.code, json.dumps(content))


@pytest.fixture
def stopped(tiny, options, tmp_path):
    """The folder of a run that was stopped after a step."""
    with pytest.raises(Interrupted):
        train(tiny, tmp_path / "run", dataclasses.replace(options, stop_after=1))
    return Folder(tmp_path / "run")


HOST, STEP = "research.data.images.images", "research.models.images.plain.cnn"


def test_a_run_knows_its_code(tiny, stopped):
    content = json.loads(stopped.code.read_text())
    assert content == dataclasses.asdict(current(tiny)) | {"accepted": []}
    assert content["modules"][HOST].startswith("host:") and content["modules"][STEP].startswith("step:")


@pytest.mark.parametrize(
    "how",
    [
        {"placement": Placement(method="pmap")},
        {"steps_per_call": 2, "residency": "ram"},
        {"residency": "stream"},
    ],
    ids=["pmap", "several steps in a call", "streamed"],
)
def test_how_it_is_run_is_no_part_of_it(how, tiny, options, tmp_path):
    with pytest.raises(Interrupted):
        train(tiny, tmp_path, dataclasses.replace(options, stop_after=2, **how))
    assert identity.read(Folder(tmp_path)) == current(tiny)


@pytest.mark.fault("F33")
def test_an_unfinished_run_of_other_code_resumes_on_request_alone(tiny, options, stopped):
    rewrite(stopped, modules={HOST: "host:0"})
    before = stopped.code.read_text()
    with pytest.raises(UsageError, match=rf"(?s)began.*{HOST}.*--accept_code_change.*--workdir"):
        train(tiny, stopped.root, options)
    assert stopped.code.read_text() == before and not stopped.result.exists()
    train(tiny, stopped.root, dataclasses.replace(options, accept_code_change=True))
    assert identity.read(stopped).accepted == (HOST,)
    train(tiny, stopped.root, options)  # once accepted it is the code of this run


@pytest.mark.fault("F33")
def test_a_finished_run_of_other_code_is_not_taken_for_one_of_this(tiny, options, stopped):
    train(tiny, stopped.root, options)
    rewrite(stopped, modules={STEP: "step:0"}, programs={"step": "0"})
    with pytest.raises(UsageError, match=rf"(?s)finished.*{STEP}.*--accept_code_change"):
        train(tiny, stopped.root, options)
    rewrite(stopped, programs=current(tiny).programs)
    train(tiny, stopped.root, options)
    assert identity.read(stopped) == current(tiny)  # what was proven to be the same is so from here on


def test_the_code_of_an_older_run_is_unknown(tiny, options, stopped):
    stopped.code.unlink()
    with pytest.raises(UsageError, match=UNKNOWN):
        train(tiny, stopped.root, options)


@pytest.mark.parametrize("text", ["{", "{}", '{"modules": 3, "programs": {}, "versions": {}}'])
def test_damaged_code_is_unknown_and_said_to_be_damaged(tiny, options, stopped, text):
    sealed.write(stopped.code, text)
    with pytest.raises(UsageError, match=r"all of it, as code\.json is damaged"):
        train(tiny, stopped.root, options)


def test_unknown_code_is_accepted_on_request(tiny, options, stopped):
    stopped.code.unlink()
    train(tiny, stopped.root, dataclasses.replace(options, accept_code_change=True))
    assert identity.read(stopped).accepted == (UNKNOWN,)


def test_where_nothing_was_computed_there_is_no_other_code(tiny, options, stopped):
    rewrite(stopped, modules={HOST: "host:0"})
    shutil.rmtree(stopped.checkpoints)
    stopped.metrics.unlink()
    train(tiny, stopped.root, options)
    assert identity.read(stopped) == current(tiny)


def test_equal_code_lowers_nothing(tiny, monkeypatch):
    before = current(tiny)
    monkeypatch.setattr(module, "programs", lambda *_: pytest.fail("lowered"))
    assert current(tiny, before) is before
