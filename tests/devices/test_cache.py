import contextlib
import os
import re
import stat
import time
import zlib

import jax
import jax.numpy as jnp
import pytest
from jax.experimental.compilation_cache.compilation_cache import reset_cache

from research.devices.cache import WORTH_KEEPING, Compilations, cache_compilations, tidy
from research.experiment import RunOptions
from research.training import train

SETTINGS = {
    "jax_enable_compilation_cache": True,
    "jax_compilation_cache_dir": None,
    "jax_persistent_cache_min_compile_time_secs": 1.0,
}


@pytest.fixture
def untouched(monkeypatch, tmp_path):
    """JAX as a user finds it, with a home of its own."""
    before = {name: getattr(jax.config, name) for name in SETTINGS}
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    for name, value in SETTINGS.items():
        jax.config.update(name, value)
    reset_cache()
    yield tmp_path
    for name, value in before.items():
        jax.config.update(name, value)
    reset_cache()


def test_the_folder_is_the_users_own(untouched, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "relative/is/ignored")
    assert cache_compilations() == untouched / ".cache/ceteris/compilations"
    assert jax.config.jax_compilation_cache_dir == str(untouched / ".cache/ceteris/compilations")
    assert jax.config.jax_persistent_cache_min_compile_time_secs == WORTH_KEEPING


def test_the_folder_is_for_the_user_alone(untouched, monkeypatch):
    """Programs are loaded from it and run: one that others could write into is closed, one of another is left."""
    folder = untouched / ".cache/ceteris/compilations"
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    assert cache_compilations() == folder and stat.S_IMODE(folder.stat().st_mode) == 0o700
    folder.chmod(0o777)
    jax.config.update("jax_compilation_cache_dir", None)
    monkeypatch.setattr(os, "getuid", lambda: folder.stat().st_uid + 1)
    assert cache_compilations() is None and jax.config.jax_compilation_cache_dir is None
    assert stat.S_IMODE(folder.stat().st_mode) == 0o777


def test_the_folder_follows_xdg(untouched, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(untouched / "caches"))
    assert cache_compilations() == untouched / "caches/ceteris/compilations"


def test_settings_of_the_user_stay(untouched):
    jax.config.update("jax_compilation_cache_dir", str(untouched / "mine"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 7.0)
    assert cache_compilations("other") == untouched / "mine"
    assert jax.config.jax_persistent_cache_min_compile_time_secs == 7
    assert not (untouched / "mine").exists() and not (untouched / ".cache").exists()


def test_it_can_be_turned_off(untouched):
    jax.config.update("jax_enable_compilation_cache", False)
    assert cache_compilations() is None and not (untouched / ".cache").exists()


def test_nothing_is_kept_where_nothing_can_be_written(untouched):
    (untouched / ".cache").write_text("a file where the folder would be")
    assert cache_compilations() is None and jax.config.jax_compilation_cache_dir is None


def entry(folder, name, size=1000, age=0.0):
    path = folder / f"{name}-cache"
    path.write_bytes(zlib.compress(os.urandom(size)))
    os.utime(path, (time.time() - age,) * 2)
    return path


def test_what_was_cut_short_is_removed(tmp_path):
    whole, cut, garbage, empty = (entry(tmp_path, name) for name in ("whole", "cut", "garbage", "empty"))
    other = tmp_path / "other"
    other.write_text("not a program")
    cut.write_bytes(cut.read_bytes()[:-1])
    garbage.write_bytes(os.urandom(500))
    empty.write_bytes(b"")
    tidy(tmp_path, largest=10**6)
    assert {path.name for path in tmp_path.iterdir()} == {whole.name, other.name, ".tidied"}


def test_what_was_used_the_longest_ago_goes_first(tmp_path):
    paths = [entry(tmp_path, age, age=age) for age in (30, 10, 20)]
    os.utime(paths[0], (time.time(), paths[0].stat().st_mtime))  # written first, read last
    tidy(tmp_path, largest=2500)
    assert [path.exists() for path in paths] == [True, True, False]


def counted(work):
    """Return what `work` gives in a new process, as good as, and how many programs were found and compiled."""
    jax.clear_caches()
    with contextlib.closing(Compilations()) as compilations:
        return work(), compilations.found, compilations.compiled


def test_what_is_kept_gives_the_same_numbers(untouched, experiment, data_dir):
    def run(folder):
        options = RunOptions(data_dir=data_dir, log_every=1, evaluate_every=5, progress="none", pictures=False)
        train(experiment, untouched / folder, options)
        return (untouched / folder / "metrics.jsonl").read_bytes()

    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    cache = cache_compilations()
    journal, found, compiled = counted(lambda: run("cold"))
    assert found == 0 < compiled == len(list(cache.glob("*-cache")))
    assert counted(lambda: run("warm")) == (journal, compiled, 0)


def test_what_is_damaged_is_compiled_again(untouched):
    def run():
        return float(jax.jit(lambda x: jnp.tanh(x @ x).sum())(jnp.ones((7, 7))))

    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    cache = cache_compilations()
    number, _, compiled = counted(run)
    assert counted(run) == (number, compiled, 0)
    for path in cache.glob("*-cache"):
        path.write_bytes(path.read_bytes()[:-7])
    with pytest.warns(UserWarning, match="Error reading persistent compilation cache"):
        assert counted(run) == (number, 0, compiled)
    jax.config.update("jax_compilation_cache_dir", None)
    cache_compilations()  # as the next process does
    assert counted(run) == (number, 0, compiled)
    assert counted(run) == (number, compiled, 0)


@pytest.mark.uncached
def test_the_first_step_tells_what_it_took():
    with contextlib.closing(Compilations()) as compilations:
        jax.jit(lambda x: jnp.sin(x) * 3)(jnp.ones(7)).block_until_ready()
        line = compilations.first_step()
        known = compilations.compiled
    jax.jit(lambda x: jnp.cos(x) * 5)(jnp.ones(7)).block_until_ready()
    assert compilations.compiled == known > 0 < compilations.tracing
    seconds = r"\d+\.\d s"
    shape = rf"first step after {seconds}: {seconds} tracing, {seconds} compiling \(programs: .*{known} compiled\)"
    assert re.fullmatch(shape, line)
