"""Many runs that differ in named places: axes, studies, execution, statistics and report."""

from research.ablation.design.axes import (
    Axis,
    Overrides,
    add_one_in,
    chain,
    filtered,
    fixed,
    grid,
    leave_one_out,
    one_at_a_time,
    product,
    seeds,
    when,
    zipped,
)
from research.ablation.design.parsing import parse_axes, parse_axis, parse_space
from research.ablation.design.space import choice, halton, integers, log_uniform, random, uniform
from research.ablation.design.study import Cell, Goal, Study, Trial, check, final_seeds, goal, plan, trials
from research.ablation.design.tuning import Tuning, nuisance_plan, tuning_seeds, winners
from research.ablation.execution.dry_run import describe_plan
from research.ablation.execution.running import ablate
from research.ablation.execution.simple import judge_baselines
from research.ablation.store.study_folder import Outcome, Store
from research.ablation.strategies.halving import Rungs, Standing, screen
from research.ablation.strategies.search import search
from research.ablation.strategies.sequential import ablate_until_resolved

__all__ = [
    "Axis",
    "Cell",
    "Goal",
    "Outcome",
    "Overrides",
    "Rungs",
    "Standing",
    "Store",
    "Study",
    "Trial",
    "Tuning",
    "ablate",
    "ablate_until_resolved",
    "add_one_in",
    "chain",
    "check",
    "choice",
    "describe_plan",
    "filtered",
    "final_seeds",
    "fixed",
    "goal",
    "grid",
    "halton",
    "integers",
    "judge_baselines",
    "leave_one_out",
    "log_uniform",
    "nuisance_plan",
    "one_at_a_time",
    "parse_axes",
    "parse_axis",
    "parse_space",
    "plan",
    "product",
    "random",
    "screen",
    "search",
    "seeds",
    "trials",
    "tuning_seeds",
    "uniform",
    "when",
    "winners",
    "zipped",
]
