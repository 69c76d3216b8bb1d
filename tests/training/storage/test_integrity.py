"""Damage to any file of a checkpoint is seen and named, or changes nothing; none is restored as if it were sound."""

import asyncio
import json
import logging
import math
import re
import shutil
from collections import Counter

import chex
import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest

from research.errors import RunError
from research.experiment import RunOptions
from research.training import train
from research.training.storage.checkpoints.checkpoint import Checkpoints
from research.training.storage.checkpoints.manifest import ALGORITHM, digest_json, digests, leaves, manifest
from research.training.storage.folder import Folder
from research.training.storage.journal import Journal
from research.training.update.shapes import abstract_state
from research.training.update.state import TrainState
from tests.families import FAMILIES, QUICK, WHOLE
from tests.training.faults.poisoned import experiment

KINDS = ("latest", "best")


def state(step):
    """A state of few bytes, and of one leaf large enough that its numbers have a file of their own."""
    generator = np.random.default_rng(step)

    def drawn(*shape):
        return generator.standard_normal(shape).astype(np.float32)

    return TrainState(
        step=np.int32(step),
        params={"block": {"kernel": drawn(41, 43), "bias": drawn(7)}, "head": {"kernel": drawn(7, 3)}},
        variables={"batch_stats": {"mean": drawn(3)}},
        opt_state=({"count": np.int32(step)}, {"mu": drawn(7, 3)}),
    )


STATES = {step: state(step) for step in (1, 2, 3)}
ABSTRACT = jax.eval_shape(lambda: state(1))
NAMES = {*leaves(ABSTRACT), "its manifest", "its description of the state"}


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A folder with the latest two checkpoints, and the best one."""
    folder = tmp_path_factory.mktemp("sound") / "checkpoints"
    with Checkpoints(folder) as checkpoints:
        for step in (1, 2):
            checkpoints.save("latest", STATES[step])
            checkpoints.save("best", STATES[step])
    return folder


@pytest.fixture
def folder(sound, tmp_path):
    return shutil.copytree(sound, tmp_path / "checkpoints")


def files(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def restored(folder, kind="latest", states=STATES):
    """The step of the state that a folder gives, which must be one of those that were saved, to the last bit."""
    with Checkpoints(folder, read_only=True) as checkpoints:
        found = checkpoints.restore(kind, jax.eval_shape(lambda: states[2])).state
    chex.assert_trees_all_equal(found, states[int(found.step)])
    return int(found.step)


def assert_named(caplog):
    """The one warning says what is damaged: a leaf by its path, the manifest, or the description of the state."""
    (warning,) = [record.getMessage() for record in caplog.records if "is damaged" in record.getMessage()]
    found = re.fullmatch(
        r"checkpoint (latest|best)/2 is damaged and left out: (the digest of )?(.*?)"
        r"( cannot be read: .+| does not agree)",
        warning,
    )
    assert found and found[3] in NAMES, warning
    return found[3], "digest" if found[2] else "reading"


@pytest.mark.slow
@pytest.mark.fault("F11")
def test_500_flipped_bits(sound, folder, caplog):
    """Each is detected, and the checkpoint before it used, or the state is right to the last bit."""
    caplog.set_level(logging.WARNING)
    generator = np.random.default_rng(0)
    hit = [path for path in files(folder / "latest" / "2") if path.stat().st_size]
    found, spare = Counter(), set()
    for path in hit:  # marks that a commit is done, which classes wrote the files, and what Orbax merged into others
        content = path.read_bytes()
        path.unlink()
        if restored(folder) == 2:
            spare.add(path)
        path.write_bytes(content)
    for index in range(500):
        path = hit[index % len(hit)]
        content = path.read_bytes()
        flipped = bytearray(content)
        flipped[generator.integers(len(flipped))] ^= 1 << generator.integers(8)
        path.write_bytes(flipped)
        caplog.clear()
        step = restored(folder)
        how = "harmless" if step == 2 else assert_named(caplog)[1]
        found["spare" if path in spare else how] += 1
        assert step == 2 or path not in spare
        path.write_bytes(content)
    assert len(hit) - len(spare) >= 4  # the manifest, the description, an index, the numbers, more as Orbax sees fit
    # Both ways to find it were needed; how often depends on how many files Orbax had time to merge into others.
    assert min(found["digest"], found["reading"]) > 20
    assert found["harmless"] < 50  # numbers in Orbax's description of the state that it does not look at


@pytest.mark.fault("F11", "F12", "F17")
@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in WHOLE]
)
def test_every_family(name, tmp_path):
    """Its state comes back to the last bit, though overwritten while it was saved; damage to it is seen.

    A file is damaged the same way whatever model its numbers are of, so one stands for each kind of tree (`WHOLE`).
    """
    generator = np.random.default_rng(0)
    abstract = abstract_state(FAMILIES[name])
    drawn = jax.tree.map(lambda leaf: generator.integers(0, 99, leaf.shape).astype(leaf.dtype), abstract)
    states = {step: drawn._replace(step=np.int32(step)) for step in (1, 2)}
    with Checkpoints(tmp_path) as checkpoints:
        for saved in states.values():
            overwritten = jax.tree.map(np.array, saved)
            checkpoints.save("latest", overwritten)
            for leaf in jax.tree.leaves(overwritten):
                leaf[...] = 7
    assert restored(tmp_path, states=states) == 2
    cut, hit = [], [path for path in files(tmp_path / "latest" / "2") if path.stat().st_size]
    for path in hit:
        content = path.read_bytes()
        if name in QUICK:  # what Orbax writes of a larger tree takes long to read, and differs in its size
            flipped = bytearray(content)
            flipped[generator.integers(len(flipped))] ^= 1 << generator.integers(8)
            path.write_bytes(flipped)
            restored(tmp_path, states=states)
        path.write_bytes(content[: len(content) // 2])
        cut.append(restored(tmp_path, states=states))
        path.write_bytes(content)
    assert cut.count(1) >= min(4, len(hit))  # the other files are marks of a commit, and what Orbax merged into others


@pytest.mark.fault("F11")
def test_the_leaf_that_differs_is_the_one_that_is_named(folder, caplog, monkeypatch):
    """Where its numbers are read without complaint."""
    large = max(files(folder / "latest" / "2" / "state"), key=lambda path: path.stat().st_size)
    content = bytearray(large.read_bytes())
    content[len(content) // 2] ^= 4
    large.write_bytes(content)
    assert restored(folder) == 1
    assert assert_named(caplog) == (".params['block']['kernel']", "digest")
    monkeypatch.setattr(
        "research.training.storage.checkpoints.checkpoint.digests",
        lambda tree, algorithm: digests(STATES[2], algorithm),
    )
    with Checkpoints(folder, read_only=True) as checkpoints:
        wrong = checkpoints.restore("latest", ABSTRACT).state  # what would be used if nobody looked
    same = jax.tree.map(np.array_equal, wrong, STATES[2])
    assert not same.params["block"]["kernel"]
    assert sum(not equal for equal in jax.tree.leaves(same)) == 1


@pytest.mark.slow
@pytest.mark.fault("F12")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("damage", ["half", "empty", "missing"])
def test_every_file_and_folder_damaged(damage, kind, sound, tmp_path, caplog):
    """Of the latest checkpoint the one before it is used; the best has none before it, which is an error."""
    caplog.set_level(logging.WARNING)
    paths = sorted((sound / kind / "2").rglob("*"))
    detected = 0
    for number, path in enumerate(paths):
        if damage != "missing" and path.is_dir():
            continue
        folder = shutil.copytree(sound, tmp_path / str(number))
        hit = folder / path.relative_to(sound)
        match damage:
            case "missing" if hit.is_dir():
                shutil.rmtree(hit)
            case "missing":
                hit.unlink()
            case "half":
                hit.write_bytes(hit.read_bytes()[: hit.stat().st_size // 2])
            case "empty":
                hit.write_bytes(b"")
        caplog.clear()
        try:
            step = restored(folder, kind)
        except RunError as error:
            assert kind == "best" and re.fullmatch(r"every best checkpoint in .* is damaged; .*", str(error))
            step = 0
        if step != 2:
            name, _ = assert_named(caplog)
            assert name.startswith(".") or not (hit.parent.name == "d" or hit.name == "manifest.ocdbt")
            assert step == (1 if kind == "latest" else 0)
            detected += 1
        shutil.rmtree(folder)
    assert detected >= 4


STRAYS = {
    "a folder that was never renamed": lambda latest: shutil.copytree(latest / "2", latest / "3.orbax-checkpoint-tmp"),
    "an empty folder of a later step": lambda latest: (latest / "3").mkdir(),
    "half a folder of a later step": lambda latest: shutil.copytree(latest / "2" / "state", latest / "3" / "state"),
    "a file of a later step": lambda latest: (latest / "3").write_text("3"),
    "a copy by hand": lambda latest: shutil.copytree(latest / "2", latest / "2 (copy)"),
    "a name that is none": lambda latest: (latest / "-1").mkdir(),
    "a file": lambda latest: (latest / ".DS_Store").write_bytes(b"\0"),
    "a link to nowhere": lambda latest: (latest / "7").symlink_to("gone"),
}


@pytest.mark.fault("F12")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stray", STRAYS)
def test_strays_among_the_checkpoints(stray, kind, folder):
    """They are left out of account, and the next step is saved beside them."""
    STRAYS[stray](folder / kind)
    assert restored(folder, kind) == 2
    with Checkpoints(folder) as checkpoints:
        assert checkpoints.restore(kind, ABSTRACT) is not None
        checkpoints.save(kind, STATES[3])
        checkpoints.wait()
    assert restored(folder, kind) == 3


@pytest.mark.fault("F11")
def test_every_leaf_has_a_digest():
    assert manifest(STATES[1])["digests"].keys() == leaves(STATES[1]).keys()


@pytest.mark.fault("F2")
@pytest.mark.parametrize("kind", KINDS)
def test_a_state_without_its_manifest_is_not_whole(kind, folder, caplog):
    """However sound its numbers are: nothing says that all of them are there."""
    shutil.rmtree(folder / kind / "2" / "manifest")
    with Checkpoints(folder, read_only=True) as checkpoints:
        if kind == "latest":
            assert int(checkpoints.restore(kind, ABSTRACT).state.step) == 1
        else:
            with pytest.raises(RunError, match="every best checkpoint in .* is damaged"):
                checkpoints.restore(kind, ABSTRACT)
    assert assert_named(caplog) == ("its manifest", "reading")


@pytest.mark.fault("F15")
@pytest.mark.parametrize(
    ("losses", "best"), [((1.0, 2.0, 3.0, 4.0, 5.0), 1), ((1.0, math.nan, 0.5, math.nan, 2.0), 3), ((2.0, 1.0, 1.0), 2)]
)
def test_latest_and_best_however_the_loss_goes(losses, best, tmp_path):
    """Orbax, which keeps the best two, would resume at step 2 of the first, and take step 5 of the second for best."""
    journal = Journal(tmp_path / "metrics.jsonl", 0, "loss", maximize=False)
    with Checkpoints(tmp_path) as checkpoints:
        for step, loss in enumerate(losses, 1):
            journal.write(step, "validation", {"loss": loss})
            if journal.best is not None and journal.best.step == step:
                checkpoints.save("best", state(step))
            checkpoints.save("latest", state(step))
        checkpoints.wait()
        for kind, expected in (("latest", len(losses)), ("best", best)):
            chex.assert_trees_all_equal(checkpoints.restore(kind, ABSTRACT).state, state(expected))


@pytest.fixture
def slow_commits(monkeypatch):
    """Let half a second go by before a checkpoint gets its name."""
    from orbax.checkpoint._src.path import async_path

    rename = async_path.rename

    async def slow(source, target):
        if target.name.isdecimal():
            await asyncio.sleep(0.5)
        return await rename(source, target)

    monkeypatch.setattr(async_path, "rename", slow)


@pytest.mark.fault("F2")
@pytest.mark.usefixtures("slow_commits")
def test_the_result_is_there_after_the_last_checkpoint(tmp_path, monkeypatch):
    """A folder with a result is finished: one that is killed between the two would lack its last state for ever."""
    write, found = Folder.write_result, []

    def looked(folder, result):
        found.append((folder.checkpoints / "latest" / "2").is_dir())
        write(folder, result)

    monkeypatch.setattr(Folder, "write_result", looked)
    train(experiment(steps=2), tmp_path, RunOptions(pictures=False, progress="none"))
    assert found == [True]


@pytest.mark.fault("F2", "F5")
@pytest.mark.usefixtures("slow_commits")
def test_the_best_is_there_before_the_latest_after_it(tmp_path):
    """A run that is killed after both resumes from the latest, and does not come to that best one again."""
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save("best", STATES[1])
        assert not (tmp_path / "best" / "1").exists()
        checkpoints.save("latest", STATES[1])
        assert (tmp_path / "best" / "1").is_dir()


@pytest.mark.fault("F17")
def test_a_state_may_be_overwritten_while_it_is_saved(tmp_path):
    """As the step does that is given its memory."""
    changed = state(1)
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save("latest", changed)
        for leaf in jax.tree.leaves((changed.params, changed.variables, changed.opt_state[1])):
            leaf[...] = 7
        checkpoints.wait()
    assert restored(tmp_path) == 1


@pytest.mark.fault("F17")
def test_what_is_handed_over_to_be_saved_is_a_copy(tmp_path, monkeypatch):
    """Orbax makes one as well, but does not promise to; and a step is not given memory that something looks at."""
    given = []

    def held_back(self, step, args, force):
        given.append(args["state"].item)
        return True

    monkeypatch.setattr(ocp.CheckpointManager, "save", held_back)
    on_host, on_device = state(1), jax.tree.map(jnp.asarray, state(2))
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save("latest", on_host)
        checkpoints.save("latest", on_device)
    for leaf in jax.tree.leaves((on_host.params, on_host.variables, on_host.opt_state[1])):
        leaf[...] = 7
    jax.jit(lambda tree: jax.tree.map(lambda leaf: leaf * 0 + 1, tree), donate_argnums=0)(on_device)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(on_device))
    for found, step in zip(given, (1, 2), strict=True):
        chex.assert_trees_all_equal(found, STATES[step])


@pytest.mark.fault("F19")
def test_digests_of_other_releases(folder):
    """Those of release 0.1.0 are compared as well; of a newer one it is said that it is newer, and nothing is moved."""
    path = folder / "latest" / "2" / "manifest" / "metadata"
    manifest = json.loads(path.read_text())
    assert manifest["algorithm"] == ALGORITHM

    def written(**changes):
        changed = {**manifest, **changes}
        del changed["digest"]
        changed = {name: value for name, value in changed.items() if value is not None}
        path.write_text(json.dumps({**changed, "digest": digest_json(changed)}))

    written(algorithm=None, digests=digests(STATES[2], "blake2b"))
    assert restored(folder) == 2
    written(algorithm=None, digests=digests(STATES[1], "blake2b"))
    assert restored(folder) == 1
    written(algorithm="sha9")
    before = files(folder)
    with pytest.raises(RunError, match="newer release saved the checkpoint: its digests are sha9"):
        restored(folder)
    assert files(folder) == before
