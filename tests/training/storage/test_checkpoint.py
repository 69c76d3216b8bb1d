"""What is saved comes back, or is set aside; never something else."""

import dataclasses
import json
import shutil

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from research.errors import RunError
from research.experiment import replace, to_json
from research.models import CNN
from research.training import Interrupted, init, restore, train
from research.training.storage import sealed
from research.training.storage.checkpoints.checkpoint import Checkpoints
from research.training.storage.checkpoints.manifest import digests
from research.training.storage.journal import Best, Journal, Mark, read
from research.training.update.shapes import abstract_state, shapes_of


@pytest.fixture
def damaged(undisturbed, tmp_path):
    """A copy of a finished run, to be damaged: checkpoints at steps 8 and 12."""
    return shutil.copytree(undisturbed, tmp_path / "run")


def files(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


@pytest.mark.fault("F11")
def test_a_flipped_bit_is_never_restored(damaged, undisturbed):
    """Whatever file of the last checkpoint is hit: the state is right, or the one before it is used."""
    _, expected = restore(undisturbed)
    generator = np.random.default_rng(0)
    latest = damaged / "checkpoints" / "latest" / "12"
    fallbacks = 0
    for path in files(latest):
        if not path.stat().st_size:
            continue
        for _ in range(3):
            whole = bytearray(path.read_bytes())
            whole[generator.integers(len(whole))] ^= 1 << generator.integers(8)
            path.write_bytes(whole)
            _, state = restore(damaged)
            if int(state.step) == 12:
                chex.assert_trees_all_equal(state, expected)
            else:
                assert int(state.step) == 8
                fallbacks += 1
            shutil.rmtree(damaged / "checkpoints")
            shutil.copytree(undisturbed / "checkpoints", damaged / "checkpoints")
    assert fallbacks > 5


@pytest.mark.fault("F12")
@pytest.mark.parametrize("damage", ["truncate", "empty", "delete"])
def test_a_damaged_file_falls_back(damage, damaged, caplog):
    largest = max(files(damaged / "checkpoints" / "latest" / "12" / "state"), key=lambda path: path.stat().st_size)
    if damage == "delete":
        largest.unlink()
    else:
        largest.write_bytes(b"" if damage == "empty" else largest.read_bytes()[: largest.stat().st_size // 2])
    before = files(damaged)
    _, state = restore(damaged)
    assert int(state.step) == 8
    assert "latest/12 is damaged" in caplog.text
    assert files(damaged) == before  # reading moves nothing


@pytest.mark.fault("F11", "F12")
def test_a_damaged_checkpoint_is_trained_again(damaged, tiny, options, undisturbed):
    (damaged / "result.json").unlink()
    largest = max(files(damaged / "checkpoints" / "latest" / "12" / "state"), key=lambda path: path.stat().st_size)
    largest.write_bytes(b"")
    train(tiny, damaged, options)
    assert (damaged / "checkpoints" / "damaged" / "latest-12").is_dir()
    chex.assert_trees_all_equal(restore(damaged)[1], restore(undisturbed)[1])
    assert (damaged / "metrics.jsonl").read_bytes() == (undisturbed / "metrics.jsonl").read_bytes()


@pytest.mark.fault("F12")
def test_all_damaged_is_an_error_and_stays_one(damaged, tiny, options):
    (damaged / "result.json").unlink()
    for path in files(damaged / "checkpoints" / "latest"):
        path.write_bytes(b"")
    for action in (lambda: restore(damaged), *[lambda: train(tiny, damaged, options)] * 2):
        with pytest.raises(RunError, match="every latest checkpoint"):
            action()


@pytest.mark.fault("F18", "F19")
def test_other_code_is_no_damage(damaged, tiny, options, monkeypatch):
    """A checkpoint whose parameters the code no longer has is refused by name, and nothing is moved."""
    (damaged / "result.json").unlink()
    before = files(damaged / "checkpoints")

    class Renamed(nn.Module):
        @nn.compact
        def __call__(self, x, train=False):
            return nn.Dense(10, name="other")(x.reshape(len(x), -1))

    monkeypatch.setattr(CNN, "__call__", Renamed.__call__)
    # As in a new process, which remembers no shapes.
    monkeypatch.setattr("research.training.update.shapes.shapes_of", shapes_of.__wrapped__)
    for action in (lambda: restore(damaged), lambda: train(tiny, damaged, options)):
        with pytest.raises(RunError, match=r"saved by other code: params\.block_0\..* not there now; go back to"):
            action()
    assert files(damaged / "checkpoints") == before


@pytest.mark.fault("F15")
def test_best_of_the_future_is_forgotten_on_resume(tiny, options, tmp_path):
    """A run resumed before its best step comes to it again; until then there is no best."""
    often = dataclasses.replace(options, evaluate_every=1, checkpoint_every=100)
    with pytest.raises(Interrupted):
        train(tiny, tmp_path, dataclasses.replace(often, stop_after=2))
    shutil.copytree(tmp_path / "checkpoints" / "latest", tmp_path / "early")
    train(tiny, tmp_path, often)
    assert int(restore(tmp_path, "best")[1].step) > 2
    shutil.rmtree(tmp_path / "checkpoints" / "latest")
    shutil.move(tmp_path / "early", tmp_path / "checkpoints" / "latest")
    (tmp_path / "result.json").unlink()
    seldom = dataclasses.replace(options, evaluate_every=0, stop_after=3)
    with pytest.raises(Interrupted):
        train(tiny, tmp_path, seldom)
    with pytest.raises(RunError, match="no best checkpoint"):
        restore(tmp_path, "best")


@pytest.mark.fault("F15")
def test_keep_is_how_many_are_kept(tiny, options, tmp_path):
    for keep in (1, 3):
        train(tiny, tmp_path / str(keep), dataclasses.replace(options, keep=keep))
        latest = tmp_path / str(keep) / "checkpoints" / "latest"
        assert sorted(int(path.name) for path in latest.iterdir() if path.is_dir()) == [4, 8, 12][-keep:]


@pytest.mark.fault("F12")
def test_half_written_checkpoints_are_ignored(damaged):
    (damaged / "checkpoints" / "latest" / "13.orbax-checkpoint-tmp-1" / "state").mkdir(parents=True)
    assert int(restore(damaged)[1].step) == 12


@pytest.mark.fault("F15")
def test_latest_and_best_are_kept_apart(undisturbed):
    lines = [line for line in read(undisturbed / "metrics.jsonl") if line["split"] == "validation"]
    best = max(lines, key=lambda line: (line["accuracy"], -line["step"]))
    assert int(restore(undisturbed, "best")[1].step) == best["step"]
    latest = [path for path in (undisturbed / "checkpoints" / "latest").iterdir() if path.is_dir()]
    assert sorted(int(path.name) for path in latest) == [8, 12]


@pytest.mark.fault("F17")
def test_saved_state_is_not_changed_by_donation(tiny, tmp_path):
    """The buffers of a state may be reused while it is being written."""
    state = init(tiny, jax.random.key(0))
    expected = jax.device_get(jax.tree.map(jnp.copy, state))
    overwrite = jax.jit(lambda tree: jax.tree.map(lambda leaf: leaf * 0 + 1, tree), donate_argnums=0)
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save("latest", state)
        overwrite(state)
        assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state))
        checkpoints.wait()
        restored = checkpoints.restore("latest", abstract_state(tiny)).state
    chex.assert_trees_all_equal(restored, expected)


@pytest.mark.fault("F11")
def test_digests_see_path_type_shape_and_bytes():
    tree = {"a": np.zeros((2, 3), np.float32)}
    others = [
        {"b": np.zeros((2, 3), np.float32)},
        {"a": np.zeros((3, 2), np.float32)},
        {"a": np.zeros((2, 3), np.int32)},
        {"a": -np.zeros((2, 3), np.float32)},
    ]
    assert all(digests(tree) != digests(other) for other in others)
    assert digests(tree) == digests({"a": np.zeros((2, 3), np.float32)})


@pytest.mark.fault("F15", "F22")
@pytest.mark.parametrize(
    ("history", "maximize", "best"),
    [
        ([0.5], True, True),
        ([0.5, 0.6], True, True),
        ([0.5, 0.5], True, False),
        ([0.5, 0.4], True, False),
        ([0.5, 0.4], False, True),
        ([0.5, float("nan")], False, False),
        ([float("nan")], True, False),
        ([float("nan"), 0.1], True, True),
        ([0.9, float("nan"), 0.8], True, False),
    ],
)
def test_nan_and_ties_are_never_best(history, maximize, best, tmp_path):
    journal = Journal(tmp_path / "metrics.jsonl", 0, "loss", maximize)
    for step, value in enumerate(history, 1):
        journal.write(step, "train", {"loss": 0.0 if maximize else 1.0})
        journal.write(step, "validation", {"loss": value})
    assert (journal.best is not None and journal.best.step == len(history)) is best


@pytest.mark.fault("F2")
def test_journal_drops_what_is_about_to_be_repeated(tmp_path):
    path = tmp_path / "metrics.jsonl"
    journal, marks = Journal(path, 0, "loss", maximize=True), {}
    for step in (1, 2, 3):
        journal.write(step, "train", {"loss": float("nan") if step == 2 else step / 3})
        marks[step] = Mark.of(json.loads(json.dumps(journal.mark().saved())))
    whole = path.read_bytes()
    assert b"NaN" not in whole and b"null" in whole
    for mark in (marks[2], None):  # without a mark, as older releases saved none, all lines are read
        path.write_bytes(whole + b'{"step": 4, "split": "tr')
        journal = Journal(path, 2, "loss", True, mark)
        assert [line["step"] for line in read(path)] == [1, 2] and journal.mark() == marks[2]
        journal.write(2, "train", {"loss": 9.0})
        journal.write(3, "train", {"loss": 1.0})
        assert path.read_bytes() == whole and journal.mark() == marks[3]


@pytest.mark.fault("F12")
def test_a_journal_opened_again_knows_its_best(tmp_path):
    path = tmp_path / "metrics.jsonl"
    journal, marks = Journal(path, 0, "loss", maximize=False), {}
    for step, loss in enumerate((3.0, float("-inf"), 1.0, 2.0), 1):
        journal.write(step, "validation", {"loss": loss})
        marks[step] = journal.mark()
    expected = {1: Best(3.0, 1), 2: Best(3.0, 1), 3: Best(1.0, 3), 4: Best(1.0, 3)}
    for step in (4, 3, 2, 1):
        for mark in (marks[step], None):
            assert Journal(path, step, "loss", False, mark).best == expected[step]


@pytest.mark.fault("F12")
@pytest.mark.parametrize("garbage", [b"garbage\n", b"[1]\n", b"\xff\xfe\n"])
def test_damaged_journal_is_named(garbage, damaged, tiny, options):
    (damaged / "result.json").unlink()
    first, *rest = (damaged / "metrics.jsonl").read_bytes().splitlines(keepends=True)
    (damaged / "metrics.jsonl").write_bytes(b"".join([first, garbage, *rest]))
    before = (damaged / "metrics.jsonl").read_bytes()
    with pytest.raises(RunError, match="line 2 of .*metrics.jsonl is damaged"):
        train(tiny, damaged, options)
    assert (damaged / "metrics.jsonl").read_bytes() == before


LOSSES = {
    "all of it": lambda lines: None,
    "all lines": lambda lines: [],
    "half": lambda lines: [*lines[: len(lines) // 2], lines[len(lines) // 2][:9]],
    "the first line": lambda lines: lines[1:],
    "a line in the middle": lambda lines: [*lines[:2], *lines[3:]],
    "nothing, but one is there twice": lambda lines: [*lines[:2], *lines[1:]],
    "a digit": lambda lines: [lines[0].replace(b'"loss": ', b'"loss": 1'), *lines[1:]],
    "the order": lambda lines: [lines[1], lines[0], *lines[2:]],
}


@pytest.mark.fault("F12")
@pytest.mark.parametrize("lost", LOSSES)
def test_a_journal_that_lost_something_is_not_continued(lost, damaged, tiny, options):
    """It ended well with another journal, and another state could become the best."""
    (damaged / "result.json").unlink()
    journal = damaged / "metrics.jsonl"
    before = LOSSES[lost](journal.read_bytes().splitlines(keepends=True))
    journal.unlink()
    if before is not None:
        journal.write_bytes(b"".join(before))
    with pytest.raises(RunError, match="has lost lines or has others than were written when the state at step 12"):
        train(tiny, damaged, options)
    assert (journal.read_bytes() if journal.exists() else None) == (None if before is None else b"".join(before))
    shutil.rmtree(damaged / "checkpoints")
    train(tiny, damaged, options)


@pytest.mark.fault("F11")
def test_the_state_of_another_run_is_refused(damaged, tiny, options, tmp_path):
    """Of another seed, under another step's name, or beside an experiment.json that was changed."""
    other = replace(tiny, {"seed": tiny.seed + 1})
    train(other, tmp_path / "other", options)
    latest = damaged / "checkpoints" / "latest" / "12"
    shutil.move(latest, tmp_path / "aside")
    shutil.copytree(tmp_path / "other" / "checkpoints" / "latest" / "12", latest)
    with pytest.raises(
        RunError, match=f"latest/12 is a state of the run .* seed {other.seed}, and .* seed {tiny.seed}"
    ):
        restore(damaged)
    shutil.rmtree(latest)
    shutil.move(tmp_path / "aside", latest)
    assert int(restore(damaged)[1].step) == 12
    file = damaged / "experiment.json"
    sealed.write(file, to_json(replace(tiny, {"optimizer.learning_rate": 0.5})))
    with pytest.raises(RunError, match="latest/12 is a state of the run "):
        restore(damaged)


@pytest.mark.fault("F11")
def test_a_checkpoint_under_the_name_of_another_step_is_damaged(damaged, caplog):
    latest = damaged / "checkpoints" / "latest"
    steps = sorted(int(path.name) for path in latest.iterdir())
    shutil.rmtree(latest / "12")
    shutil.copytree(latest / str(steps[0]), latest / "12")
    assert int(restore(damaged)[1].step) == steps[0] < 12
    assert f"latest/12 is damaged and left out: it is the state of step {steps[0]}" in caplog.text
