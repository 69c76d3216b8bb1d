"""Which modules decide a run's numbers: those that define its value, what they import, and what trains it."""

import ast
import functools
import hashlib
import importlib.util
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import flax.linen as nn

from research.training.identity import bytecode, source
from research.training.identity.kept import Kept

PROJECT = "research"

ALWAYS = (
    "research.data.batching.batches",
    "research.data.batching.training_order",
    "research.training.evaluation",
    "research.training.initialization.start",
    "research.training.stepping",
    "research.training.update.step",
)
"""Modules that every run goes through, whatever its value is."""

PRETRAINED = "research.training.initialization.pretrained"
"""What reads weights from files, for runs that start from them."""

NEVER = (
    "research.ablation",
    "research.baselines",
    "research.cli",
    "research.data.builders",
    "research.data.images.contact_sheet",
    "research.devices",
    "research.experiment",
    "research.interchange.names",
    "research.launch",
    "research.planning",
    "research.tasks.pictures",
    "research.training.clock",
    "research.training.display",
    "research.training.faults",
    "research.training.storage",
    "research.weights",
)
"""Packages and modules that show, store, plan or place what is computed, and decide no number of it.

What a builder of data writes is told by dataset.json, and a value by its fingerprint.
"""

INSIDE = (
    "research.errors",
    "research.fields",
    "research.kernels",
    "research.layers",
    "research.models",
    "research.optimization",
    "research.training.update",
)
"""Packages whose code decides numbers through compiled programs alone, so that these tell whether a change matters.

Data and tasks compute on the host too.
"""

KEPT = Kept("sources", 1024)
"""What is known of source files by their digest, from one process to the next: parsing them takes most of a second."""


HOST, STEP = "host", "step"
"""What stands before a module's digest: whether it decides numbers on the host too, or through programs alone."""


class Parsed(NamedTuple):
    """What is known of a source file."""

    digest: str
    """Of what it says."""
    imports: tuple[tuple[str, str, str | None], ...]
    """What it imports: as what, from which module, and which name of that, or None for the module itself."""
    calls_back: bool
    """Whether a program may call functions of it on the host, which no program shows."""


@functools.lru_cache(maxsize=256)
def modules(classes: frozenset[type], from_file: bool = False) -> Mapping[str, str]:
    """Return the digest of every module that decides what values of these classes compute, by name.

    These are the modules in which the classes are defined, what those import from this project and from what lies
    beside it or them, and `ALWAYS`; not what is installed from elsewhere, whose versions are known. A name that a
    package hands on counts with the module that defines it. Of a class without a source, such as a notebook's, the
    bytecode counts. Before each digest stands `HOST` or `STEP`.

    Args:
        classes: those of the values within an experiment.
        from_file: whether the run starts from weights in a file.
    """
    by_module: dict[str, list[type]] = {}
    for cls in classes:
        by_module.setdefault(_name(cls.__module__), []).append(cls)
    own = {PROJECT, *(module.partition(".")[0] for module in by_module)}
    never = NEVER if from_file else (*NEVER, PRETRAINED)
    # What other libraries call the parameters of a model stands beside it.
    read = [PRETRAINED, *(f"{module}_names" for module in by_module)] if from_file else []
    waiting = [*ALWAYS, *by_module, *read]
    parsed: dict[str, Parsed] = {}
    while waiting:
        module = waiting.pop()
        known = module in parsed or _under(module, never)
        if known or not (module.partition(".")[0] in own or _beside(module.partition(".")[0])):
            continue
        if (file := _file(module)) is not None:
            parsed[module] = parse(module, file)
            waiting += [_defining(target, taken) for _, target, taken in parsed[module].imports]
    KEPT.save()

    models = all(
        issubclass(cls, nn.Module)
        for module, held in by_module.items()
        if not _under(module, (PROJECT,))
        for cls in held
    )
    found = {
        module: f"{STEP if _inside(module, models) and not each.calls_back else HOST}:{each.digest}"
        for module, each in parsed.items()
    }
    for module, held in by_module.items():
        if _file(module) is None:
            found |= {f"{module}.{cls.__qualname__}": f"{HOST}:{bytecode.digest(cls)}" for cls in held}
    return MappingProxyType(dict(sorted(found.items())))


def _inside(module: str, models: bool) -> bool:
    """Return whether a module decides numbers through programs alone; one of the user's where that defines `models`."""
    if module.endswith("_names"):
        return False
    return _under(module, INSIDE) if _under(module, (PROJECT,)) else models


def _under(module: str, names: tuple[str, ...]) -> bool:
    """Return whether a module is one of these, or within one."""
    return any(module == name or module.startswith(f"{name}.") for name in names)


def _name(module: str) -> str:
    """Return what a module is called where it is imported, which that of a command is not."""
    if module != "__main__":
        return module
    main = sys.modules["__main__"]
    specification, file = getattr(main, "__spec__", None), getattr(main, "__file__", None)
    return specification.name if specification is not None else Path(file).stem if file else module


def _loaded(module: str) -> Any:
    """Return a module that is imported, None where it is not."""
    return sys.modules["__main__" if module == _name("__main__") else module] if module in sys.modules else None


def _file(module: str) -> Path | None:
    """Return the source file of a module, None where there is no such module or it has no source."""
    file = getattr(_loaded(module), "__file__", None)
    if file is None:
        try:
            specification = importlib.util.find_spec(module)
        except (ImportError, AttributeError, ValueError):
            return None
        file = specification.origin if specification is not None and specification.has_location else None
    return Path(file) if file is not None and file.endswith(".py") and Path(file).is_file() else None


@functools.cache
def _beside(package: str) -> bool:
    """Return whether a package is neither Python's nor installed, but lies beside what its user wrote."""
    if package in sys.stdlib_module_names:
        return False
    try:
        specification = importlib.util.find_spec(package)
    except (ImportError, AttributeError, ValueError):
        return False
    if specification is None:
        return False
    places = [specification.origin] if specification.has_location else specification.submodule_search_locations or []
    installed = {Path(sysconfig.get_path(kind)) for kind in ("stdlib", "platstdlib", "purelib", "platlib")}
    return any(not any(Path(place).is_relative_to(each) for each in installed) for place in places if place)


def parse(module: str, file: Path) -> Parsed:
    """Return what is known of a module's source, as it was when this process first asked since it was imported."""
    return _parse(module, file, id(getattr(_loaded(module), "__spec__", None)))


@functools.lru_cache(maxsize=4096)
def _parse(module: str, file: Path, imported: int) -> Parsed:
    """Parse a file, unless what it says is known already."""
    text = file.read_bytes()
    key = hashlib.blake2b(module.encode() + b"\0" + text, digest_size=16).hexdigest()
    if (kept := KEPT.get(key)) is not None:
        digest, imports, calls_back = kept
        return Parsed(digest, tuple((alias, target, name) for alias, target, name in imports), calls_back)
    tree = ast.parse(text)
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    imports = tuple(_imports(tree, package))
    calls_back = any(name.endswith("callback") for node in ast.walk(tree) for name in _names(node))
    parsed = Parsed(source.digest(tree), imports, calls_back)
    KEPT.put(key, list(parsed))
    return parsed


def _names(node: ast.AST) -> Iterator[str]:
    """Yield the name that a node reads, if it reads one."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name) | ast.alias(name=name):
            yield name


def _imports(tree: ast.Module, package: str) -> Iterator[tuple[str, str, str | None]]:
    """Yield what a module imports, anywhere in it: as what, from which module, and which name of that."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from ((each.asname or each.name.partition(".")[0], each.name, None) for each in names)
            case ast.ImportFrom(module=target, names=names, level=level):
                parents = package.split(".")
                base = ".".join(parents[: len(parents) - level + 1]) if level else ""
                whole = ".".join(part for part in (base, target) if part)
                yield from ((each.asname or each.name, whole, each.name) for each in names)


def _defining(module: str, name: str | None) -> str:
    """Return the module that defines a name of another one: a module below it, or where its package has it from."""
    if name is None or not (_under(module, (PROJECT,)) or _beside(module.partition(".")[0])):
        return module
    if _file(f"{module}.{name}") is not None:
        return f"{module}.{name}"
    file = _file(module)
    if file is None or file.name != "__init__.py":
        return module
    origins = {alias: (target, taken) for alias, target, taken in parse(module, file).imports}
    return _defining(*origins[name]) if name in origins else module
