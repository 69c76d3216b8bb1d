"""The simple baselines of a study, fitted once for all of its cells."""

from collections.abc import Mapping

from research.ablation.design.study import final_seeds, plan
from research.ablation.store.study_folder import Store
from research.baselines import Baseline, Judgement, judge_missing


def judge_baselines(
    store: Store, baselines: Mapping[str, Baseline], data_dir: str | None = None
) -> tuple[Judgement, ...]:
    """Fit the baselines that have no result in a study's folder yet, and return what each comes to; reports show it.

    They are fitted to data and task of the study's own baseline, its cell 0, and those that draw random numbers with
    the study's seeds. Raises as `judge_missing`.
    """
    experiment = plan(store.experiment, store.study)[0].experiment
    seeds = final_seeds(store.experiment, store.study)
    return tuple(judge_missing(experiment, baselines, store.baselines, seeds, data_dir))
