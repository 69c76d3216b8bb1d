"""Searching a space for its best setting, as `ablate --search` asks for it."""

import hashlib
from pathlib import Path

from research.ablation.design.parsing import parse_space
from research.ablation.design.study import Study
from research.ablation.strategies.memory import Memory, Tried
from research.ablation.strategies.search import search
from research.cli.studies.flags import Ablate, refuse
from research.cli.studies.sharing import share
from research.errors import RunError
from research.experiment import fingerprint


def run_search(arguments: Ablate, name: str) -> None:
    """Search a space and show the best setting."""
    refuse(
        arguments,
        "--search",
        "study",
        "axis",
        "screen",
        "dry_run",
        "more_seeds",
        "until_resolved",
        "retry",
        "fail_fast",
        "drop",
        "alpha",
        "margin",
        "title",
    )
    experiment = arguments.experiment
    space = parse_space(experiment, arguments.space)
    spelled = hashlib.sha256("\n".join(sorted(arguments.space)).encode()).hexdigest()[:6]
    workdir = Path(arguments.workdir or Path("runs") / name / f"search-{spelled}-{fingerprint(experiment)}")
    seeds = arguments.seeds or Study().tuning_seeds
    memory = Memory(experiment, Study(seeds=seeds, metric=arguments.metric, split="validation"), space, workdir)

    def work() -> None:
        """Run what is missing."""
        trials, batch, options = arguments.trials, arguments.batch, arguments.options
        search(
            experiment,
            space,
            workdir,
            trials,
            batch,
            options,
            arguments.execution,
            seeds=seeds,
            metric=arguments.metric,
            workers=arguments.workers or 1,
        )

    if not share(arguments, workdir, work):
        return
    found = memory.found()
    if found.best is None:
        raise RunError(f"none of {len(found.tried)} settings came to a finite {found.metric}; see {workdir}")

    def shown(item: Tried) -> str:
        """Return a setting and its score in words."""
        setting = ", ".join(f"{path}={value!r}" for path, value in item.setting.items()) or "the baseline"
        return f"{found.metric} {item.value:.4f} with {setting}"

    print(f"best of {len(found.tried)} on validation, mean of {seeds} seeds: {shown(found.best)}")
    print(f"baseline: {shown(found.baseline)}")
    print("The winner was picked for its score, which is optimistic: judge it by a study, whose seeds are fresh.")
    print(f"look at:\n  {workdir / 'search.csv'}")
