"""Trials of other code are never pooled with those of this code without a word."""

import json
import shutil

import pytest

from research.ablation import Study, one_at_a_time
from research.ablation.execution.running import ablate
from research.ablation.report import tabulate
from research.ablation.store.study_folder import Store
from research.errors import UsageError
from research.experiment import RunOptions, replace
from research.training import identity
from research.training.identity import Code
from research.training.storage import sealed
from research.training.storage.folder import Folder

pytestmark = pytest.mark.digested
STUDY = Study(one_at_a_time({"model.dropout": (0.4,)}), seeds=2)
HOST, STEP = "research.data.images.images", "research.models.images.plain.cnn"


@pytest.fixture(scope="module")
def base(experiment):
    return replace(experiment, {"steps": 4, "model.channels": (3,)})


@pytest.fixture(scope="module")
def options(data_dir):
    return RunOptions(data_dir=data_dir, progress="none")


@pytest.fixture(scope="module")
def finished(base, options, tmp_path_factory):
    return ablate(base, STUDY, tmp_path_factory.mktemp("study"), options, "loop").root


@pytest.fixture
def study(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "study")


@pytest.mark.parametrize("mode", ["vmap", "map"])
def test_trials_that_run_together_are_of_the_code_of_one_alone(mode, base, options, finished, tmp_path):
    together = ablate(base, STUDY, tmp_path, options, mode).root
    for file in finished.glob("trials/*/code.json"):
        assert (together / file.relative_to(finished)).read_text() == file.read_text()


def rewrite(root, module, *fields):
    """Have the trials of a study say that a module was another one, and so of programs where they are named."""
    for file in sorted(root.glob("trials/*/code.json")):
        content = json.loads(file.read_text())
        content["modules"][module] = content["modules"][module].partition(":")[0] + ":0"
        for field in fields:
            content[field]["step"] = "0"
        sealed.write(file, json.dumps(content))


def texts(root):
    return {file.parent.name: file.read_text() for file in sorted(root.glob("trials/*/result.json"))}


def further(base, root, options, seeds=3, **asked):
    return ablate(base, Study(STUDY.cells, seeds=seeds), root, options, "loop", **asked)


@pytest.mark.fault("F33")
def test_seeds_are_not_added_to_those_of_other_code(base, options, study):
    rewrite(study, HOST)
    before, asked = texts(study), (study / "study.json").read_text()
    with pytest.raises(UsageError, match=rf"(?s)4 of its trials.*dropout.*{HOST}.*--retry changed.*--accept_code"):
        further(base, study, options)
    assert texts(study) == before and (study / "study.json").read_text() == asked


def about_code(store):
    return [remark for remark in tabulate(store)[0].remarks if "code" in remark]


def test_what_is_proven_to_be_the_same_program_is_of_this_code_from_here_on(base, options, study):
    rewrite(study, STEP)
    before = texts(study)
    store = further(base, study, options)
    assert len(texts(study)) == 6 and before.items() <= texts(study).items()
    first, *others = [outcome.code for outcome in store.outcomes()]
    assert all(code == first for code in others) and not first.accepted
    assert not about_code(store)


def test_another_program_is_run_again_on_request(base, options, study):
    rewrite(study, STEP, "programs")
    before = texts(study)
    with pytest.raises(UsageError, match=STEP):
        further(base, study, options)
    store = further(base, study, options, retry=("changed",))
    after = texts(study)
    assert len(after) == 6 and not before.items() & after.items()  # seconds differ at least
    assert {outcome.attempt for outcome in store.outcomes()} == {1, 2}
    assert not about_code(store)
    assert further(base, study, options, retry=("changed",)) and texts(study) == after


def test_what_is_accepted_stays_and_is_said_in_every_report(base, options, study):
    rewrite(study, HOST)
    before = texts(study)
    store = further(base, study, RunOptions(data_dir=options.data_dir, progress="none", accept_code_change=True))
    assert before.items() <= texts(study).items()
    accepted = [outcome.code.accepted for outcome in store.outcomes()]
    assert accepted.count((HOST,)) == 4 and accepted.count(()) == 2
    found, _ = tabulate(store)
    assert [row.entries[0].n for row in found.rows] == [3, 3]
    assert any("4 of the trials" in remark and HOST in remark for remark in found.remarks)
    further(base, study, options)  # asked once


def test_a_report_keeps_trials_of_different_code_apart(base, options, study):
    store = further(base, study, options)
    for outcome in store.outcomes():
        if outcome.seed == 1:
            folder = Folder(outcome.folder)
            code = identity.read(folder)
            identity.record(folder, Code({**code.modules, HOST: "host:0"}, code.programs, code.versions))
        if outcome.seed == 2:
            Folder(outcome.folder).code.unlink()
    found, _ = tabulate(store)
    assert [row.entries[0].n for row in found.rows] == [1, 1]
    assert [row.entries[0].missing for row in found.rows] == [(1, 2), (1, 2)]
    assert any("4 trials of other code" in remark and HOST in remark for remark in found.remarks)


def test_a_study_of_an_older_release_is_reported_and_its_code_said_to_be_unknown(base, options, study):
    for file in study.glob("trials/*/code.json"):
        file.unlink()
    assert [row.entries[0].n for row in tabulate(Store(study))[0].rows] == [2, 2]
    with pytest.raises(UsageError, match=identity.UNKNOWN):
        further(base, study, options)
