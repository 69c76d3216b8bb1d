"""How the whole suite compiles: one folder of compiled programs, most optimizations off, and markers for exceptions.

A run lowers its programs once more to know them by their digests, which took a quarter of the time of a run with a new
program. In the workers runs record none but where a test is `digested`; commands that tests start record them always.

Most of a test's time was XLA's. So the workers, the commands that tests start, and the next run of the suite share
`PROGRAMS`; what JAX looks a program up by holds the program, the compiler and its options, so that no test can find one
that was changed since. `make test-as-users` has some tests compile all the same as a user's first run does.
"""

import collections
import gc
import hashlib
import os
import subprocess
import sys
import types
from pathlib import Path

import chex
import hypothesis
import jax
import pytest
from jax.experimental.compilation_cache.compilation_cache import reset_cache

from research.data import Images, files
from research.devices.cache import tidy
from research.experiment import Experiment
from research.models import CNN
from research.optimization import Optimizer
from research.tasks import Classification
from research.training.identity import code
from tests import programs as copies
from tests.balance import balanced

PROGRAMS = Path(__file__).parents[1] / "build" / "test-programs"
LARGEST = 2**30  # bytes of that folder, several runs of the whole suite
NO_FUSION_EMITTERS, KNOWS = "--xla_cpu_use_fusion_emitters=false", "CETERIS_TEST_KNOWS_FUSION_EMITTERS"
AS_USERS = os.environ.get("CETERIS_TEST_COMPILES") == "as users"
"""Without that folder and with all optimizations, whatever the markers say."""
DIGESTS = code.programs

os.environ["CETERIS_KEEP_MEMORY"] = "false"  # the suite would stay as large as its largest test
jax.config.update("jax_numpy_rank_promotion", "raise")


def configure(name: str, value: object) -> None:
    """Set an option of JAX for this process and for the commands that tests start."""
    jax.config.update(name, value)
    os.environ[name.upper()] = str(value).lower() if isinstance(value, bool) else str(value)


def configured(name: str) -> bool:
    """Return what an option is set to; not every one can be asked of `jax.config`."""
    return os.environ[name.upper()] == "true"


def compile_quickly(quickly: bool) -> None:
    """Have XLA leave out most optimizations, or none; here, and in the commands that tests start.

    Its emitters of fused loops take longer than all the rest of it. They are chosen once in a process, so where they
    are off in the workers they stay off.
    """
    configure("jax_disable_most_optimizations", quickly)
    others = [flag for flag in os.environ.get("XLA_FLAGS", "").split() if flag != NO_FUSION_EMITTERS]
    without = [NO_FUSION_EMITTERS] if quickly and os.environ[KNOWS] == "true" else []
    os.environ["XLA_FLAGS"] = " ".join([*others, *without])


def knows(flag: str) -> bool:
    """Return whether this XLA has a flag: it ends every process that names one which it does not have."""
    environment = {**os.environ, "XLA_FLAGS": flag}
    command = [sys.executable, "-c", "import jax; jax.devices()"]
    return subprocess.run(command, env=environment, capture_output=True).returncode == 0


configure("jax_platforms", "cpu")
if KNOWS not in os.environ:  # workers have it of the process that starts them
    os.environ[KNOWS] = str(knows(NO_FUSION_EMITTERS)).lower()
configure("jax_enable_compilation_cache", not AS_USERS)
configure("jax_compilation_cache_dir", str(PROGRAMS))
configure("jax_persistent_cache_min_compile_time_secs", 0.0)
configure("jax_persistent_cache_enable_xla_caches", "none")  # or where the folder lies is part of what is looked up
compile_quickly(not AS_USERS)
# JAX writes a program in place, so another process may find it cut short for a moment. It compiles its own then.
os.environ["PYTHONWARNINGS"] = "ignore:Error reading persistent compilation cache entry:UserWarning"

# The same examples on every run: a suite that fails by chance teaches people to run it again.
hypothesis.settings.register_profile("suite", deadline=None, derandomize=True, database=None, max_examples=50)
hypothesis.settings.load_profile("suite")


def pytest_configure(config: pytest.Config) -> None:
    """Remove from the folder of programs, before any worker starts, what a run that was killed left cut short."""
    if not hasattr(config, "workerinput"):
        PROGRAMS.mkdir(parents=True, exist_ok=True)
        tidy(PROGRAMS, LARGEST)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Compile as a test's markers say; before its fixtures, those of its module too, which compile as well."""
    unoptimized = not AS_USERS and item.get_closest_marker("optimized") is None
    if configured("jax_disable_most_optimizations") != unoptimized:
        compile_quickly(unoptimized)
        jax.clear_caches()  # else what is compiled already would stay as it is
    cached = not AS_USERS and item.get_closest_marker("uncached") is None
    if configured("jax_enable_compilation_cache") != cached:
        configure("jax_enable_compilation_cache", cached)
        reset_cache()  # JAX asks once
    digested = AS_USERS or item.get_closest_marker("digested") is not None
    code.programs = DIGESTS if digested else lambda experiment, digest: {}


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Have several workers begin with what is slow; each of them collects, and has to come to the same order."""
    if hasattr(config, "workerinput"):
        items[:] = balanced(
            items,
            config.workerinput["workercount"],
            file=lambda item: item.path,
            slow=lambda item: item.get_closest_marker("slow") is not None,
        )


def pytest_collection_finish(session: pytest.Session) -> None:
    """Look for garbage less often, and not among what is imported: an eighth of all time went into looking."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(30_000, 20, 100)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say where the minutes of a long run are, by the folders of tests, added over workers."""
    rooms: collections.Counter[str] = collections.Counter()
    for report in (each for found in terminalreporter.stats.values() for each in found if hasattr(each, "duration")):
        rooms["/".join(report.nodeid.partition("::")[0].split("/")[:2])] += report.duration
    if rooms.total() > 60:
        terminalreporter.section("minutes of all workers by room")
        for room, seconds in rooms.most_common():
            terminalreporter.line(f"{seconds / 60:6.1f}  {room}")


@pytest.fixture(autouse=True)
def fresh_trace_counts():
    """Traces are counted by function and line: a parametrized test would continue where the case before it stopped."""
    chex.clear_trace_counter()


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    """A copy of the folder of programs, used by the commands of a module that kills them or fills their disk.

    What they compile is kept for the next run of the suite; nothing else may compile it.
    """
    folder = tmp_path_factory.mktemp("programs") / "programs"
    copies.link(PROGRAMS, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAX_COMPILATION_CACHE_DIR", str(folder))
        yield folder
    if not AS_USERS:
        copies.keep(folder, PROGRAMS)


def of_the_run(factory: pytest.TempPathFactory) -> Path:
    """Return a new folder that all workers of a run have, and no other run."""
    own = factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def experiment():
    """A run of a second or two with everything switched on; no two of its sizes are equal."""
    return Experiment(
        model=CNN(channels=(3, 5), dense=(7,), dropout=0.2),
        task=Classification(label_smoothing=0.1),
        data=Images("digits", shift=1, noise=0.05),
        optimizer=Optimizer("adamw", learning_rate=3e-3, warmup=2, weight_decay=1e-2, clip_norm=1.0, ema=0.9),
        steps=12,
        batch_size=17,
    )


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory):
    """A folder for the packaged datasets, with digits in it; workers share it, and each dataset is written once."""
    folder = str(of_the_run(tmp_path_factory) / "packaged")
    Images("digits").open("train", folder)
    return folder


@pytest.fixture
def files_read(monkeypatch):
    """How often a CSV file of a user's was parsed and digested in a test; files of a run are digested too."""
    counts = {"read": 0, "file_digest": 0}

    def counted(of, name):
        def call(*arguments):
            counts[name] += 1
            return of(*arguments)

        return call

    monkeypatch.setattr(files.csv_files, "read", counted(files.csv_files.read, "read"))
    digesting = types.SimpleNamespace(file_digest=counted(hashlib.file_digest, "file_digest"))
    monkeypatch.setattr(files, "hashlib", digesting)
    return counts
