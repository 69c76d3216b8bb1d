"""A report of damaged files says which, or leaves that trial out; it never shows a traceback."""

import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from research.ablation import Study, one_at_a_time
from research.ablation.report import tabulate
from research.ablation.report.formats.latex import latex
from research.ablation.report.formats.markdown import markdown
from research.ablation.report.formats.spreadsheet import spreadsheet
from research.ablation.report.html.page import page
from research.ablation.store.study_folder import Store, write_status
from research.errors import RunError, UsageError
from research.experiment import fingerprint, to_json
from research.training.storage.files import write
from research.training.storage.folder import Folder, Result

STUDY = Study(one_at_a_time({"model.dropout": (0.0,)}), seeds=2)
FILES = ("study.json", "result.json", "status.json", "metrics.jsonl", "attempts/1.json")

FEW = 15  # a report takes a tenth of a second

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from([10**400, "done", "running", "test", "accuracy", "baseline", "../x", "<script>", "", -1]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@pytest.fixture(scope="module")
def study(experiment, tmp_path_factory):
    """A finished study, and its files by name, each of one trial."""
    store = Store.open(tmp_path_factory.mktemp("study"), experiment, STUDY)
    for number, trial in enumerate(store.final_trials()):
        finish(store, trial, 0.5 + number / 32)
    folder = store.folder(store.final_trials()[3])
    return store, {name: store.root / name if name == "study.json" else folder / name for name in FILES}


def finish(store, trial, accuracy):
    """Write what a finished trial leaves."""
    folder = Folder(store.folder(trial))
    folder.root.mkdir(parents=True)
    values = {"loss": 1.0, "accuracy": accuracy}
    named = {"fingerprint": fingerprint(trial.experiment), "seed": trial.seed, "steps": 12}
    ran = {"device": "abacus x 1", "versions": {"jax": "1"}, "commit": None, "parameters": 7}
    content = json.loads(to_json(trial.experiment))
    folder.write_result(
        Result(experiment=content, metrics={"test": values}, details={}, seconds={"total": 2.5}, **named, **ran)
    )
    write_status(folder.root, "done", mode="vmap", group="g", device="abacus x 1")
    lines = [{"step": step, "split": "validation", **values} for step in (6, 12)]
    folder.metrics.write_text("".join(json.dumps(line) + "\n" for line in lines))
    write(folder.root / "attempts.json", "")
    (folder.root / "attempts").mkdir()
    (folder.root / "attempts/1.json").write_text(json.dumps({"host": "h", "pid": 1, "born": "1", "over": "done"}))


def reported(store):
    """The table, and every text that is made of it, as the command reads them."""
    table, learning = tabulate(Store(store.root, ()))
    return table, [markdown(table), spreadsheet(table), latex(table), page(table, [learning])]


def check(store, path, content):
    """The report of a study in which one file has another content: whole, or one sentence; the folder is as before."""
    kept = path.read_bytes()
    path.write_bytes(content)
    try:
        table, _ = reported(store)
        entries = [row.entries[0] for row in table.rows]
        assert all(entry.planned >= entry.n for entry in entries)
        return table
    except (RunError, UsageError) as error:
        assert str(error)
        return str(error)
    finally:
        path.write_bytes(kept)


def places(tree, path=()):
    """The path of every node of a JSON tree."""
    yield path
    for key in tree if isinstance(tree, dict) else range(len(tree)) if isinstance(tree, list) else ():
        yield from places(tree[key], (*path, key))


def exchanged(tree, path, item):
    """A JSON tree with one node exchanged."""
    if not path:
        return item
    first, *rest = path
    copy = dict(tree) if isinstance(tree, dict) else list(tree)
    copy[first] = exchanged(tree[first], rest, item)
    return copy


def test_the_study_is_whole_before_it_is_damaged(study):
    table, _ = reported(study[0])
    assert [row.entries[0].n for row in table.rows] == [2, 2]


@pytest.mark.fault("F29")
@pytest.mark.parametrize("name", FILES)
def test_any_item_of_a_file_may_be_wrong(name, study):
    store, files = study
    text = files[name].read_text()
    tree = [json.loads(line) for line in text.splitlines()] if name.endswith("l") else json.loads(text)
    paths = list(places(tree))

    @settings(max_examples=FEW)
    @given(st.sampled_from(paths), JSON)
    def damage(path, item):
        changed = exchanged(tree, path, item)
        lines = changed if name.endswith("l") and isinstance(changed, list) else [changed]
        check(store, files[name], "".join(json.dumps(line) + "\n" for line in lines).encode())

    damage()


@pytest.mark.fault("F29")
@pytest.mark.parametrize("name", FILES)
def test_any_bytes_of_a_file_may_be_wrong(name, study):
    store, files = study
    whole = files[name].read_bytes()

    @settings(max_examples=FEW)
    @given(st.integers(0, len(whole) - 1), st.binary(max_size=3), st.booleans())
    @example(0, b"[" * 100_000, False)
    @example(0, b'{"a":' * 100_000, False)
    @example(0, b"\xff\xfe", False)
    @example(0, b"", True)
    def damage(place, noise, cut):
        content = whole[:place] + noise + (b"" if cut else whole[place + len(noise) :])
        check(store, files[name], content)

    damage()


@pytest.mark.fault("F29")
@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("status.json", {"folder": "/", "status": "failed"}),
        ("status.json", {"mode": [1]}),
        ("status.json", {"status": ["done"]}),
        ("result.json", {"device": 3}),
        ("result.json", {"versions": [1]}),
        ("result.json", {"metrics": {"test": {"accuracy": "0.5", "loss": True}}}),
    ],
)
def test_an_item_of_another_type_is_not_taken(name, changes, study):
    """A status that is none is that of a trial without; a result that is none is a failure that names its file."""
    store, files = study
    content = json.loads(files[name].read_text()) | changes
    table = check(store, files[name], json.dumps(content).encode())
    receipts = table.rows[1].receipts[0]
    assert table.rows[1].entries[0].n == (2 if name == "status.json" else 1)
    assert name == "status.json" or any("result.json is damaged" in said for said in receipts.errors.values())
