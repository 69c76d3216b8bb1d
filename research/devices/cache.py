"""Compiled programs kept from one process to the next, and what compiling took in this one.

What JAX's cache looks a program up by has everything in it that decides its machine code: the program, the versions
of JAX and XLA, XLA's flags, the compiler's options, and the kind, number and instruction set of the devices. So
machines of different kinds may share a folder, and a program that is found gives the very numbers of one compiled anew.
"""

import contextlib
import os
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax

WORTH_KEEPING = 0.1
"""Seconds of compilation from which a program is kept: 16 of the 20 programs of a run of digits_cnn took less."""

DEFAULT_OF_JAX = 1.0
"""Seconds that JAX asks for unless told otherwise, which many a training step of a small experiment stays below."""

LARGEST = 512 * 2**20
"""Bytes that the folder is brought back to when a process begins; a step of the smaller experiments takes 0.2 to 0.4
million."""

COMPILING = "/jax/core/compile/"  # what JAX calls its durations
FOUND = "/jax/compilation_cache/cache_hits"


def cache_compilations(folder: str | Path | None = None) -> Path | None:
    """Keep compiled programs on disk from here on, and use those that are there; return where.

    A folder that JAX has been given, as JAX_COMPILATION_CACHE_DIR or by `jax.config`, stays as it is, and
    JAX_ENABLE_COMPILATION_CACHE=false turns this off. Otherwise it is `folder`, by default
    ceteris/compilations in XDG_CACHE_HOME or ~/.cache. That one is kept small and free of entries cut short; where it
    cannot be written nothing is kept, and None returned. Whoever writes into it decides what runs here, so it is made
    this user's alone, and left where it is another's.
    """
    if not _setting("jax_enable_compilation_cache"):
        return None
    if (given := _setting("jax_compilation_cache_dir")) is None:
        try:
            root = Path(folder) if folder is not None else _user_folder()
            root.mkdir(parents=True, exist_ok=True)
            if folder is None:
                _make_private(root)
            tidy(root, LARGEST)
        except (OSError, RuntimeError):  # RuntimeError: there is no home
            return None
        given = str(root)
        jax.config.update("jax_compilation_cache_dir", given)
    if _setting("jax_persistent_cache_min_compile_time_secs") == DEFAULT_OF_JAX:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", WORTH_KEEPING)
    return Path(given)


def _user_folder() -> Path:
    """Return the user's own folder. Raises `RuntimeError` where there is no home."""
    caches = Path(os.environ.get("XDG_CACHE_HOME", ""))  # to be ignored unless absolute, says its specification
    return (caches if caches.is_absolute() else Path.home() / ".cache") / "ceteris" / "compilations"


def _make_private(folder: Path) -> None:
    """Let nobody else read or write a folder. Raises `PermissionError` where it is another user's."""
    if folder.stat().st_uid != os.getuid():  # asked, because root may do anything with it, and so may its owner
        raise PermissionError(f"{folder} is another user's")
    folder.chmod(0o700)


def _setting(name: str) -> Any:
    """Return what JAX is set to."""
    return getattr(jax.config, name)


def tidy(folder: Path, largest: int) -> None:
    """Bring a folder of programs to `largest` bytes, and remove those cut short since it was tidied last.

    What was used the longest ago goes first. JAX writes an entry in place, so that a process killed meanwhile or a full
    disk leaves a part of it, and never writes over one: it would warn of it and compile again each time.

    Raises:
        OSError: the folder cannot be written.
    """
    mark = folder / ".tidied"
    before = mark.stat().st_mtime_ns if mark.exists() else 0
    mark.touch()
    kept = 0
    for path, info in sorted(_entries(folder), key=_last_used, reverse=True):
        kept += info.st_size
        with contextlib.suppress(FileNotFoundError):  # another process tidies as well
            if kept > largest or (info.st_mtime_ns >= before and not is_whole(path)):
                path.unlink()


def _entries(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Yield the programs of a folder, and their sizes and times."""
    for path in folder.glob("*-cache"):
        with contextlib.suppress(FileNotFoundError):
            yield path, path.stat()


def _last_used(entry: tuple[Path, os.stat_result]) -> int:
    """Return when a program was last read, where the file system takes note of that, or written."""
    _, info = entry
    return max(info.st_atime_ns, info.st_mtime_ns)


def is_whole(path: Path) -> bool:
    """Return whether a program is there to its end; one packed by Zstandard is taken to be."""
    data = path.read_bytes()
    if data.startswith(b"\x28\xb5\x2f\xfd"):
        return True
    unpacked = zlib.decompressobj()
    try:
        unpacked.decompress(data)
    except zlib.error:
        return False
    return unpacked.eof


class Compilations:
    """What is compiled in this process from here on, until `close`: seconds, and how many programs.

    `tracing` and `compiling` are seconds; `found` programs came from the cache, `compiled` ones did not.
    """

    def __init__(self) -> None:
        self._start = time.perf_counter()
        self.tracing, self.compiling = 0.0, 0.0
        self.found, self.compiled = 0, 0
        jax.monitoring.register_event_listener(self._count)
        jax.monitoring.register_event_duration_secs_listener(self._add)

    def _count(self, event: str, **details: Any) -> None:
        """Take note of a program that was found, of which JAX will report the seconds as of any other."""
        if event == FOUND:
            self.found += 1
            self.compiled -= 1

    def _add(self, event: str, duration_secs: float, **details: Any) -> None:
        """Take note of the seconds of a part of a compilation."""
        if event == f"{COMPILING}jaxpr_trace_duration":
            self.tracing += duration_secs
        elif event == f"{COMPILING}jaxpr_to_mlir_module_duration":
            self.compiling += duration_secs
        elif event == f"{COMPILING}backend_compile_duration":
            self.compiling += duration_secs
            self.compiled += 1

    def first_step(self) -> str:
        """Return the line that tells, after the first step, what it took to get there."""
        total = time.perf_counter() - self._start
        programs = f"{self.found} from the cache, {self.compiled}" if is_caching() else f"no cache, {self.compiled}"
        return (
            f"first step after {total:.1f} s: {self.tracing:.1f} s tracing, {self.compiling:.1f} s compiling "
            f"(programs: {programs} compiled)"
        )

    def close(self) -> None:
        """Take note of nothing further."""
        jax.monitoring.unregister_event_listener(self._count)
        jax.monitoring.unregister_event_duration_listener(self._add)


def is_caching() -> bool:
    """Return whether compiled programs are kept."""
    return bool(_setting("jax_enable_compilation_cache") and _setting("jax_compilation_cache_dir"))


def kept_in() -> Path | None:
    """Return the folder of compiled programs, None where they are not kept."""
    return Path(_setting("jax_compilation_cache_dir")) if is_caching() else None
