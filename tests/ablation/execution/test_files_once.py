import numpy as np
import pytest

from research.ablation import Study, ablate, grid
from research.data import Table
from research.experiment import Experiment, RunOptions
from research.models import MLP
from research.optimization import Optimizer
from research.tasks import Regression


@pytest.mark.parametrize("execution", ["loop", "vmap"])
def test_a_study_parses_its_file_once(execution, tmp_path, files_read):
    """Every trial has what was fitted to the file beside it, and the file's digest."""
    path = tmp_path / "table.csv"
    numbers = np.random.default_rng(0).normal(size=(60, 4))
    path.write_text("a,b,c,y\n" + "\n".join(",".join(map(str, row)) for row in numbers))
    experiment = Experiment(
        MLP((3,), classes=1), Regression(), Table(str(path), 3, target=("y",)), Optimizer("sgd"), steps=3, batch_size=5
    )
    study = Study(grid({"optimizer.learning_rate": (1e-3, 2e-3)}), seeds=4, metric="loss")
    store = ablate(experiment, study, tmp_path / "study", RunOptions(progress="none"), execution)
    assert all(outcome.finished for outcome in store.outcomes())
    assert len(list((tmp_path / "study").rglob("columns.json"))) == 8
    assert files_read == {"read": 1, "file_digest": 1}
