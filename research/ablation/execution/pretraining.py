"""What the trials of a study begin with: a run that is trained once, by one process, for all of them."""

import dataclasses
from pathlib import Path

from research.ablation.execution.waiting import Waiting
from research.ablation.store.claims import Claims
from research.experiment import Experiment, RunOptions
from research.training import identity, train
from research.training.initialization.start import runs_before, start_folder
from research.training.storage.folder import Folder, forget


class Pretraining:
    """The runs that trials begin with, in the `start_dir` of the trials' `options`."""

    def __init__(self, root: Path, options: RunOptions, claims: Claims, waiting: Waiting, again: bool = False) -> None:
        """Take the parts together; `again` says whether runs of other code are trained anew."""
        self._root, self._options = root, dataclasses.replace(options, stop_after=None)
        self._claims, self._waiting, self._again = claims, waiting, again

    def prepare(self, experiment: Experiment) -> None:
        """Train the runs that an experiment starts from, unless that is done; wait where another process does."""
        for first in runs_before(experiment):
            self._train(first)

    def _train(self, experiment: Experiment) -> None:
        """Train one of them, in this process or another."""
        root = start_folder(experiment, self._root, self._options)
        while Folder(root).read_result() is None or (self._again and identity.differences(experiment, Folder(root))[1]):
            claim = self._claims.acquire(root)
            if claim is None:
                self._waiting.pause()
            else:
                try:
                    if self._again and identity.differences(experiment, Folder(root))[1]:
                        forget(Folder(root))
                    train(experiment, root, self._options)
                finally:
                    self._claims.release(claim)
