"""Screening the cells of a study, as `ablate --screen` asks for it."""

import math
from pathlib import Path

from research.ablation.design.study import Study
from research.ablation.strategies.halving import Rungs, open_screening, screen, standings
from research.cli.studies.flags import Ablate, refuse
from research.cli.studies.sharing import share
from research.cli.tables import console, plain
from research.errors import UsageError
from research.experiment import fingerprint


def run_screening(arguments: Ablate, title: str, study: Study, name: str) -> None:
    """Screen the cells of a study and show how they stand."""
    refuse(arguments, "--screen", "dry_run", "more_seeds", "until_resolved", "retry", "fail_fast", "drop")
    experiment, options = arguments.experiment, arguments.options
    try:
        steps = tuple(int(word) for word in (arguments.screen or "").split(","))
    except ValueError:
        raise UsageError(f'--screen takes steps such as 100,300, not "{arguments.screen}"') from None
    rungs = Rungs(steps, arguments.keep_share)
    workdir = Path(arguments.workdir or Path("runs") / name / f"{title}-screening-{fingerprint(experiment)}")
    store = open_screening(experiment, study, workdir, rungs, options)

    def work() -> None:
        """Run what is missing."""
        screen(experiment, study, workdir, rungs, options, arguments.execution, arguments.workers or 1)

    if not share(arguments, workdir, work):
        return
    shown = plain("variant", "status", "step", store.goal.metric)
    for standing in standings(store):
        value = f"{standing.value:.4f}" if math.isfinite(standing.value) else ""
        shown.add_row(standing.cell.name, standing.status, str(standing.step), value)
    console().print(shown)
    print("The scores are means on validation, by which the cells were picked: no test may be made of them. Test those")
    print("worth it in a study of their own, whose seeds are fresh.")
    print(f"look at:\n  {workdir / 'screening.csv'}")
