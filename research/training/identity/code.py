"""code.json: the code that a run is of, and what was said when it changed."""

import dataclasses
import hashlib
import json

from research.devices import is_main_process
from research.errors import UsageError
from research.experiment import Experiment, Pretrained, classes
from research.training.identity.modules import STEP, modules
from research.training.identity.programs import programs
from research.training.storage import sealed
from research.training.storage.environment import settings, versions
from research.training.storage.folder import Folder

UNKNOWN = "all of it, as an older release wrote none down"


@dataclasses.dataclass(frozen=True)
class Code:
    """What decides a run's numbers besides its value.

    `modules` are digests of source by module (`identity.modules`), `programs` of what is compiled
    (`identity.programs`), `versions` those of Python and the packages under which that was lowered, with the settings
    of JAX that change it. `accepted` names modules that changed while the run or its study was under way, and that its
    user said may differ.
    """

    modules: dict[str, str]
    programs: dict[str, str]
    versions: dict[str, str]
    accepted: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Ten hexadecimal digits of it."""
        return hashlib.blake2b(json.dumps(self.modules, sort_keys=True).encode(), digest_size=5).hexdigest()


def current(experiment: Experiment, before: Code | None = None) -> Code:
    """Return the code that would run an experiment now; `before`, where nothing differs, without lowering anything."""
    starts = any(isinstance(start, Pretrained) for start in experiment.start)
    found, installed = dict(modules(frozenset(classes(experiment)), starts)), {**versions(), **settings()}
    if before is not None and (before.modules, before.versions) == (found, installed):
        return before
    digest = hashlib.blake2b(json.dumps([found, installed]).encode(), digest_size=16).hexdigest()
    return Code(found, programs(experiment, digest), installed, () if before is None else before.accepted)


def changed(before: Code, now: Code) -> tuple[str, ...]:
    """Return the modules whose change may change a run's numbers; () where none did.

    Code inside of programs is judged by these, where they were lowered by the same versions; else by its source, as is
    code on the host.
    """
    names = sorted(before.modules.keys() | now.modules.keys())
    differing = [name for name in names if before.modules.get(name) != now.modules.get(name)]
    if before.versions != now.versions or before.programs != now.programs:
        return tuple(differing)
    return tuple(name for name in differing if not (_in_step(before, name) and _in_step(now, name)))


def _in_step(code: Code, module: str) -> bool:
    """Return whether a module decides numbers through programs alone, as one that there is not does."""
    return code.modules.get(module, STEP).startswith(STEP)


def read(folder: Folder) -> Code | None:
    """Return the code of a run, None where it is not known: an older release wrote none, or the file is damaged."""
    try:
        content = json.loads(sealed.read(folder.code))
        found = Code(**{**content, "accepted": tuple(content.get("accepted", ()))})
        return found if all(isinstance(each, dict) for each in list(vars(found).values())[:3]) else None
    except (OSError, ValueError, TypeError, RecursionError):
        return None


def record(folder: Folder, code: Code) -> None:
    """Write down the code of a run. Raises `UsageError` where the folder cannot be written."""
    if read(folder) != code and is_main_process():
        try:
            sealed.write(folder.code, json.dumps(dataclasses.asdict(code), indent=2) + "\n")
        except OSError as error:
            raise UsageError(f"cannot write to {folder.root}: {error.strerror}; choose another --workdir") from error


def differences(experiment: Experiment, folder: Folder) -> tuple[Code, tuple[str, ...]]:
    """Return the code that would run an experiment now, and in what that of its folder is another.

    A folder in which nothing was computed yet has no other code.
    """
    before = read(folder)
    now = current(experiment, before)
    if not folder.has_begun():
        return now, ()
    if before is None:
        return now, (f"all of it, as {folder.code.name} is damaged" if folder.code.exists() else UNKNOWN,)
    return now, changed(before, now)


def changes(experiment: Experiment, folder: Folder) -> tuple[str, ...]:
    """Return the modules that have changed since a run, as far as its code is known."""
    before = read(folder)
    return () if before is None else changed(before, current(experiment, before))


def check(experiment: Experiment, folder: Folder, accept: bool) -> Code:
    """Return the code to record for a run.

    Raises:
        UsageError: what is in the folder was computed by other code, and that is not to be accepted.
    """
    now, names = differences(experiment, folder)
    if not names:
        return now
    if not accept:
        raise UsageError(refusal(folder, names))
    return accepting(now, names)


def accepting(code: Code, names: tuple[str, ...]) -> Code:
    """Return the code of a run of which some modules were others, as its user accepts."""
    return dataclasses.replace(code, accepted=tuple(sorted({*code.accepted, *names})))


def refusal(folder: Folder, names: tuple[str, ...]) -> str:
    """Return why a run is not resumed, nor taken as finished."""
    finished = folder.result.exists()
    what = "its numbers are" if finished else "its steps so far are"
    then = "takes them as they are" if finished else "resumes all the same, and that is written down"
    return (
        f"{folder.root}: the code has changed since this run {'finished' if finished else 'began'}, so {what} of other "
        f"code: {', '.join(names)}. --accept_code_change {then}; another --workdir begins anew"
    )
