"""The value: everything that decides a run's numbers, and what can be done with it.

experiment = replace(experiment, {"model.dropout": 0.2})      # strict; a typo raises and names the closest path
difference(a, b)                                              # ["model.dropout"]
program, hyperparameters = split(experiment)                  # what is compiled, and its arguments
join(program, hyperparameters) == experiment
fit(experiment)                                               # with the sizes and means that are found in its files
from_json(to_json(experiment)) == experiment                  # a closed set of types; nothing is imported by name
"""

from research.experiment.encoding import classes, from_json, to_json, vocabulary
from research.experiment.fingerprint import fingerprint
from research.experiment.fitting import fit, fit_data, fit_model
from research.experiment.moved import modern_override
from research.experiment.options import Placement, RunOptions
from research.experiment.paths import leaves, value_at
from research.experiment.program import Hyperparameters, join, split
from research.experiment.replacing import difference, explain, replace
from research.experiment.value import Experiment, ParameterPath, Pretrained, Safety, Start, spec

__all__ = [
    "Experiment",
    "Hyperparameters",
    "ParameterPath",
    "Placement",
    "Pretrained",
    "RunOptions",
    "Safety",
    "Start",
    "classes",
    "difference",
    "explain",
    "fingerprint",
    "fit",
    "fit_data",
    "fit_model",
    "from_json",
    "join",
    "leaves",
    "modern_override",
    "replace",
    "spec",
    "split",
    "to_json",
    "value_at",
    "vocabulary",
]
