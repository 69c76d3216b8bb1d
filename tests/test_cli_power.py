"""The command `power`, over folders that nobody trained."""

import math

import numpy as np
import pytest
from scipy import stats

from research.ablation import Study, one_at_a_time
from research.ablation.store.study_folder import Store
from research.cli import main
from tests.ablation.store.trials import finish

STUDY = Study(one_at_a_time({"model.dropout": (0.0, 0.1, 0.3)}), seeds=8)
NOISE = {0: 0.01, 1: 0.01, 2: 0.01, 3: 0.05}


@pytest.fixture
def power(experiment, capsys):
    """Run the command on a folder; return code, output and errors."""

    def power(root, *words):
        with pytest.raises(SystemExit) as ended:
            main(
                experiment,
                smoke={},
                file="tiny.py",
                doc="Tiny.",
                arguments=["power", "--workdir", str(root), "--effect", "0.02", *words],
            )
        captured = capsys.readouterr()
        return ended.value.code, captured.out, captured.err

    return power


def needed(sd, effect, alpha, target=0.8):
    """The least number of seeds, by the noncentral t distribution itself."""
    for n in range(2, 10_000):
        shift, critical = effect / sd * math.sqrt(n), stats.t.isf(alpha / 2, n - 1)
        if stats.nct.sf(critical, n - 1, shift) + stats.nct.cdf(-critical, n - 1, min(shift, 30)) >= target:
            return n
    raise AssertionError


def test_each_cell_has_its_own_need_and_the_largest_is_said(power, experiment, tmp_path):
    """One noisy cell of three needs many times the seeds that the median says."""
    store = Store.open(tmp_path, experiment, STUDY)
    rng = np.random.default_rng(0)
    drawn = {cell: rng.normal(0.5, sd, 8) for cell, sd in NOISE.items()}
    drawn[1] = drawn[0] + 0.25  # all differences are equal: nothing is known of their spread
    for trial in store.final_trials():
        finish(store, trial, accuracy=float(drawn[trial.cell.index][trial.seed]))
    code, out, err = power(tmp_path, "--smoke")
    assert (code, err) == (0, "")
    rows = {line.split("  ")[0].strip(): line for line in out.splitlines() if line.startswith(" dropout")}
    expected = {
        name: needed((drawn[cell] - drawn[0]).std(ddof=1), 0.02, 0.05 / 3)
        for name, cell in (("dropout 0.1", 2), ("dropout 0.3", 3))
    }
    assert expected["dropout 0.3"] > 5 * expected["dropout 0.1"]
    assert {name: int(line[len(name) + 1 :].split()[0]) for name, line in rows.items()} == expected
    assert f"every cell that can be judged so far: {expected['dropout 0.3']} seeds, which dropout 0.3 needs" in out


def test_a_metric_that_is_not_there_is_named(power, experiment, tmp_path):
    Store.open(tmp_path, experiment, Study(STUDY.cells, seeds=1, metric="acuracy", maximize=True))
    code, _, err = power(tmp_path)
    assert code == 2 and 'baseline has no metric "acuracy"; did you mean "accuracy"' in err and err.count("\n") == 1
