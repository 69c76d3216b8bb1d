"""What every notebook begins with: the packages that are missing, versions and devices, what is kept.

Only the standard library is imported before the packages are there.
"""

import importlib
import importlib.metadata
import os
import platform
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# What an accelerator's driver has to fit. A runtime that brings its own jax keeps it, and these with it.
RUNTIME = re.compile(r"jax|jaxlib|libtpu|jax-(cuda|rocm)[a-z0-9-]*")


def prepare(*extras: str) -> None:
    """Install what the project lacks, let programs that are started find it too, and show versions and devices.

    Args:
        extras: those of pyproject.toml whose packages the notebook needs too.

    Raises:
        RuntimeError: what is missing cannot be installed beside the runtime's jax; or it could, and the session has to
            be restarted for it.
    """
    required, installed = requirements(extras), versions()
    tested = check_jax(required, installed)
    if lacking := missing(required, installed):
        install(lacking if tested else unbounded(lacking), installed)
        check_fresh(installed, versions())
    show()
    keep()


def requirements(extras: Iterable[str]) -> list[str]:
    """Return what the project requires, and what its extras do: by its pyproject.toml, or by the wheel's metadata."""
    if (file := ROOT / "pyproject.toml").exists():
        if str(ROOT) not in (paths := os.environ.get("PYTHONPATH", "").split(os.pathsep)):
            os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, paths)])
        project = tomllib.loads(file.read_text())["project"]
        return [*project["dependencies"], *(line for name in extras for line in project["optional-dependencies"][name])]
    from packaging.requirements import Requirement

    found = []
    for requirement in map(Requirement, importlib.metadata.requires("ceteris-research") or ()):
        marker, requirement.marker = requirement.marker, None
        if marker is None or any(marker.evaluate({"extra": name}) for name in ("", *extras)):
            found.append(str(requirement))
    return found


def versions() -> dict[str, str]:
    """Return the version of every installed package, by its normalised name."""
    return {normalised(found.name): found.version for found in importlib.metadata.distributions()}


def normalised(name: str) -> str:
    """Return a package's name as indices compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def missing(required: Iterable[str], installed: Mapping[str, str]) -> list[str]:
    """Return the requirements that are not met; an installed jax is kept, whatever its version."""
    from packaging.requirements import Requirement  # jax and Colab bring it

    found = []
    for line in required:
        requirement = Requirement(line)
        name = normalised(requirement.name)
        if requirement.marker is not None and not requirement.marker.evaluate():
            continue
        if name not in installed or not (RUNTIME.fullmatch(name) or requirement.specifier.contains(installed[name])):
            found.append(line)
    return found


def check_jax(required: Iterable[str], installed: Mapping[str, str]) -> bool:
    """Return whether the runtime's jax is one that the project is tested with; where it is not, say so."""
    from packaging.requirements import Requirement

    (jax,) = (requirement for requirement in map(Requirement, required) if requirement.name == "jax")
    if "jax" not in installed or jax.specifier.contains(installed["jax"]):
        return True
    print(
        f"This runtime has jax {installed['jax']}, and Ceteris is tested with {jax.specifier}. It is kept, since it "
        "fits the accelerator, and other packages are taken as new as it allows. If something fails, suspect this."
    )
    return False


def unbounded(required: Iterable[str]) -> list[str]:
    """Return requirements without their bounds, which were chosen for another jax."""
    from packaging.requirements import Requirement

    return [Requirement(line).name for line in required]


def install(lacking: list[str], installed: Mapping[str, str]) -> None:
    """Install requirements with pip, beside the runtime's jax. Raises `RuntimeError` where pip cannot."""
    print(f"installing {', '.join(lacking)}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        constraints = Path(folder, "constraints.txt")
        constraints.write_text("".join(f"{name}=={installed[name]}\n" for name in installed if RUNTIME.fullmatch(name)))
        command = [sys.executable, "-m", "pip", "install", "-qq", "--constraint", str(constraints), *lacking]
        done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(
            f"pip could not install what is missing beside jax {installed.get('jax')}, which is kept since it fits "
            f"this runtime's accelerator; choose a newer runtime, or install another jax yourself:\n{done.stderr}"
        )
    importlib.invalidate_caches()


def check_fresh(before: Mapping[str, str], after: Mapping[str, str]) -> None:
    """Raise `RuntimeError` if packages were replaced that are imported: the old ones stay until a restart."""
    changed = {name for name, version in before.items() if after.get(name, version) != version}
    modules = importlib.metadata.packages_distributions()
    roots = {name.partition(".")[0] for name in sys.modules}
    imported = {normalised(owner) for root in roots for owner in modules.get(root, ())}
    if stale := sorted(changed & imported):
        raise RuntimeError(
            f"restart the session, then run this cell again: {', '.join(stale)} had been imported, and is now another"
        )


def show() -> None:
    """Print versions and devices."""
    import jax

    names = ("jax", "jaxlib", "flax", "optax")
    shown = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names)
    print(f"Python {platform.python_version()}, {shown}")
    first = jax.devices()[0]
    kind = "" if first.device_kind.lower() == first.platform else f" ({first.device_kind})"
    print(f"{jax.device_count()} x {first.platform.upper()}{kind}")


def keep() -> None:
    """Keep memory from step to step, and compiled programs on disk: a restarted session need not compile them again."""
    from research.devices import keep_programs_and_memory

    if (folder := keep_programs_and_memory()) is not None:
        print(f"compiled programs are kept in {folder}")


def command(module: str, *words: str) -> None:
    """Run `python -m module words` in a process of its own, which leaves the accelerators to this one, and show it.

    Raises:
        RuntimeError: it failed; says why.
    """
    line = [sys.executable, "-m", module, *words]
    done = subprocess.run(line, capture_output=True, text=True, env={**os.environ, "JAX_PLATFORMS": "cpu"})
    print(done.stdout, end="")
    if done.returncode:
        raise RuntimeError(f"{module} {words[0]} failed: {done.stderr.strip()}")


def runs_folder(on_drive: bool = False) -> Path:
    """Return where runs are kept: `runs` beside the notebook, or on Google Drive, which outlives a Colab runtime.

    Raises:
        RuntimeError: Drive is asked for where there is none.
    """
    if not on_drive:
        return Path("runs")
    try:
        from google.colab import drive
    except ImportError:
        raise RuntimeError("Google Drive can be mounted on Colab alone: set on_drive = False") from None
    drive.mount("/content/drive")
    return Path("/content/drive/MyDrive/ceteris/runs")
