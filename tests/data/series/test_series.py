import dataclasses
import importlib.util
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from research.data import Batches, Series, builders, evaluation_batches
from research.data.builders import installed
from research.data.series import windows
from research.data.splits import Split
from research.errors import UsageError

SPLITS = Split.__args__
NAN = np.nan

needs_statsmodels = pytest.mark.skipif(not importlib.util.find_spec("statsmodels"), reason="needs the extra series")


def batch_of(value, split):
    """A whole split as the model gets it."""
    records = value.open(split)
    return value.preprocess({name: jnp.asarray(array) for name, array in records.arrays().items()})


@pytest.fixture
def series(tmp_path):
    """Write values as a series in a file; return a function that makes the value for it."""

    def write(values, **fields):
        path = str(tmp_path / "series.npz")
        np.savez(path, value=np.array(values, np.float32), time=100 + np.arange(len(values)))
        return Series(path, **fields)

    return write


@needs_statsmodels
@pytest.mark.parametrize(
    ("name", "sizes", "missing", "first", "last"),
    [
        ("sunspots", (216, 31, 62), (0, 0, 0), (1700, 5.0), (2008, 2.9)),
        ("co2", (1599, 228, 457), (59, 0, 0), (1958 + 87 / 365, 316.1), (2001 + 362 / 365, 371.5)),
    ],
)
def test_points_of_a_packaged_series_are_stored_in_order_of_time(name, sizes, missing, first, last, data_dir):
    value = Series(name)
    sources = [value.source(split, data_dir) for split in SPLITS]
    points = [source.__getitems__(range(len(source))) for source in sources]
    assert tuple(map(len, points)) == sizes
    assert tuple(sum(np.isnan(point["value"]) for point in part) for part in points) == missing
    whole = [(float(point["time"]), float(point["value"])) for part in points for point in part]
    assert (np.diff([time for time, _ in whole]) > 0).all()
    np.testing.assert_allclose(whole[0], first, rtol=1e-6)
    np.testing.assert_allclose(whole[-1], last, rtol=1e-6)
    described = json.loads(value.files(data_dir)["dataset.json"])
    assert described["metadata"]["source"].startswith("statsmodels ") and described["metadata"]["missing"] == sum(
        missing
    )


@needs_statsmodels
def test_defaults_standardise_by_the_training_split(data_dir):
    np.testing.assert_allclose((Series().mean, Series().std), Series().statistics(data_dir), atol=0.05)
    values = np.loadtxt(
        importlib.util.find_spec("statsmodels").submodule_search_locations[0] + "/datasets/sunspots/sunspots.csv",
        delimiter=",",
        skiprows=1,
    )[:216, 1]
    np.testing.assert_allclose(Series().statistics(data_dir), (values.mean(), values.std()), rtol=1e-6)
    changes = np.diff(values)
    np.testing.assert_allclose(Series(difference=True).statistics(data_dir), (changes.mean(), changes.std()), rtol=1e-5)


@needs_statsmodels
def test_a_csv_file_of_sunspots_gives_the_batches_of_the_dataset(data_dir, tmp_path):
    rows = ["time,ignored,value"]
    for split in SPLITS:
        source = Series().source(split, data_dir)
        rows += [f"{float(p['time'])},text,{float(p['value'])!r}" for p in source.__getitems__(range(len(source)))]
    path = tmp_path / "Sunspots.CSV"
    path.write_text("\ufeff" + "\r\n".join(rows) + "\r\n\r\n", encoding="utf-8")
    fields = {"window": 7, "horizon": 3}
    for split in SPLITS:
        ours, theirs = (Series(name, **fields).open(split, data_dir) for name in (str(path), "sunspots"))
        one, other = (Batches(records, 13, seed=1).batch_at(2) for records in (ours, theirs))
        assert one.keys() == other.keys() == Series(**fields).spec().keys()
        for name in one:
            np.testing.assert_array_equal(one[name], other[name])
    assert json.loads(Series(str(path)).files()["dataset.json"])["bytes"] == path.stat().st_size


@pytest.mark.parametrize("difference", [False, True])
@pytest.mark.parametrize("horizon", [1, 3])
def test_every_stretch_of_a_split_is_forecast_once_from_the_past_alone(series, difference, horizon):
    n, window = 47, 5
    value = series(np.arange(n), window=window, horizon=horizon, season=2, difference=difference)
    spans = {"train": (window + difference, 33), "validation": (33, 38), "test": (38, 47)}
    for split, (start, stop) in spans.items():
        arrays = value.open(split).arrays()
        assert {name: (array.shape[1:], array.dtype) for name, array in arrays.items()} == {
            name: (item.shape, item.dtype) for name, item in value.spec().items()
        }
        expected = [list(range(first, first + horizon)) for first in range(start, stop - horizon + 1)]
        assert arrays["target"].tolist() == expected
        np.testing.assert_array_equal(arrays["time"], arrays["target"] + 100)
        past = np.concatenate([arrays["history"], arrays["last"][:, None], arrays["seasonal"]], axis=1)
        assert (past < arrays["target"][:, :1]).all()
        # The window is the points just before, the training split knows nothing of what comes after it.
        assert (arrays["history"][:, -1] == arrays["target"][:, 0] - 1).all() and (past < stop).all()


def test_a_forecast_recovers_the_value_by_hand(series):
    values = [3, 5, 4, 8, 6, 9, 1, 2, 7, 10]
    plain = series(values, window=2, horizon=2, season=3, mean=4.0, std=2.0)
    batch = batch_of(plain, "train")
    np.testing.assert_array_equal(batch["features"][0, :, 0], [-0.5, 0.5])
    np.testing.assert_array_equal(batch["value"][0], [4, 8])
    np.testing.assert_array_equal(batch["level"][0] + batch["scale"][0] * jnp.array([0.0, 2.0]), [4, 8])
    changed = series(values, window=2, horizon=2, season=3, mean=0.5, std=2.0, difference=True)
    batch = batch_of(changed, "train")
    # From 3, 5, 4 on to 8 and 6: changes 2, -1 and then 4, -2, whose scaled values are 1.75 and -1.25.
    np.testing.assert_array_equal(batch["features"][0, :, 0], [0.75, -0.75])
    np.testing.assert_array_equal(batch["level"][0], [4.5, 5.0])
    outputs = jnp.cumsum(jnp.array([1.75, -1.25]))
    np.testing.assert_array_equal(batch["level"][0] + batch["scale"][0] * outputs, [8, 6])


def test_gaps_are_masked_and_naive_forecasts_step_over_them(series):
    values = [1, 2, NAN, 4, 5, NAN, 7, NAN, NAN, 10, 11, 12, 13, NAN, 15, 16, 17, 18, 19, 20]
    fields = {"window": 3, "horizon": 2, "season": 3, "presence": True, "mean": 2.0, "std": 4.0}
    batch = batch_of(series(values, **fields), "train")
    assert batch["features"].shape == (10, 3, 2)
    # Known until point 8: 5, -, 7 and then two gaps, of which 7 and 8 are forecast in row 4 and 8 and 9 in row 5.
    np.testing.assert_array_equal(batch["features"][4], [[0.75, 1], [0, 0], [1.25, 1]])
    np.testing.assert_array_equal(batch["value"][4:6], [[0, 0], [0, 10]])
    np.testing.assert_array_equal(batch["present"][4:6], [[False, False], [False, True]])
    np.testing.assert_array_equal(batch["persistence"][4:6], [[7, 7], [7, 7]])
    # Point 7: a season back is 5. Point 8: 5 is a gap, so is 2, before the data persistence is left. Point 9: 7.
    np.testing.assert_array_equal(batch["seasonal"][4:6], [[5, 7], [7, 7]])
    changes = batch_of(series(values, **(fields | {"difference": True})), "train")
    # First row: points 0 to 3 are known, and of their changes only the first; 4 and 5 come next.
    np.testing.assert_array_equal(changes["features"][0], [[-0.25, 1], [0, 0], [0, 0]])
    # Points 9 and 10, after two gaps: three and four steps from the 7 of point 6, of 2 each.
    np.testing.assert_array_equal(changes["time"][5], [109, 110])
    np.testing.assert_array_equal(changes["level"][5], [13, 15])


def test_a_horizon_longer_than_a_season_uses_only_the_past():
    value = np.arange(20, dtype=np.float32)
    arrays = windows.cut(value, value, np.array([11]), 4, 8, 3)
    np.testing.assert_array_equal(arrays["seasonal"][0], [8, 9, 10, 8, 9, 10, 8, 9])


def test_windows_are_those_of_a_loop():
    generator = np.random.default_rng(0)
    value = np.where(generator.random(101) < 0.3, NAN, generator.normal(size=101)).astype(np.float32)
    value[0] = 3.0
    starts, season, horizon = np.arange(7, 95), 5, 6
    arrays = windows.cut(np.arange(101, dtype=np.float32), value, starts, 7, horizon, season)
    for row, start in enumerate(starts):
        known = value[:start]
        last = max(i for i in range(start) if not np.isnan(known[i]))
        assert arrays["last"][row] == known[last] and arrays["age"][row] == start - 1 - last
        np.testing.assert_array_equal(arrays["history"][row], known[-7:])
        for k in range(horizon):
            before = [i for i in range(start + k - season, -1, -season) if i < start and not np.isnan(known[i])]
            assert arrays["seasonal"][row, k] == known[before[0] if before else last]


def test_mean_and_std_may_be_arguments_of_a_compiled_function(series):
    value = series(np.arange(40), window=3, season=2, mean=3.0, std=7.0, difference=True)
    raw = {name: jnp.asarray(array) for name, array in value.open("train").arrays().items()}

    @jax.jit
    def prepare(mean, std):
        return dataclasses.replace(value, mean=mean, std=std).preprocess(raw)

    for name, entry in value.preprocess(raw).items():
        np.testing.assert_allclose(prepare(3.0, 7.0)[name], entry, rtol=1e-6)
        assert entry.dtype == (bool if name == "present" else np.float32)


def test_other_entries_pass_through(series):
    value = series(np.arange(40), window=3, season=2)
    batch = next(evaluation_batches(value.open("test"), 16))
    prepared = value.preprocess({name: jnp.asarray(array) for name, array in batch.items()})
    forecasting = ["features", "value", "present", "level", "scale", "persistence", "seasonal", "time"]
    assert sorted(prepared) == sorted([*forecasting, "mask", "row"]) and int(prepared["mask"].sum()) == 8


@needs_statsmodels
def test_training_may_begin_later_but_splits_follow_each_other(data_dir):
    later = Series(train="train[100:]", window=22).open("train", data_dir).arrays()
    assert later["time"][0, 0] == 1800 and len(later["time"]) == 116
    for fields in (
        {"train": "test", "test": "train"},
        {"train": "train[:50]+train[60:]"},
        {"train": "validation", "validation": "train"},
    ):
        with pytest.raises(UsageError, match="whole stretches of time, first train"):
            Series(**fields).open("train", data_dir)


@pytest.mark.parametrize(
    ("fields", "values", "message"),
    [
        ({}, [1, NAN, 3, 4, 5, 6, 7, 8, 9, 10], "1 values .* are missing: set data.presence"),
        ({"season": 8}, range(10), "data.season 8 is longer than the 7 points of the training split"),
        ({"horizon": 2}, range(10), "validation split .* has 1 points, too few for data.window 2 and data.horizon 2"),
        ({"window": 7}, range(10), "train split .* has 7 points, too few for data.window 7 and data.horizon 1"),
        ({"presence": True}, [NAN, NAN, *range(8)], "the first 2 values .* are all missing: set a longer data.window"),
        ({"column": "height"}, range(10), 'no array "height"; valid names are time, value'),
        ({"train": "train[:9]"}, range(10), "data.train chooses from the splits of a TFDS dataset"),
    ],
)
def test_what_does_not_fit_is_said(series, fields, values, message):
    value = series(values, **({"window": 2, "season": 3} | fields))
    with pytest.raises(UsageError, match=message):
        for split in SPLITS:
            value.open(split)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("time,value\n1,2\n2\n", "series.csv, line 3: 1 cells where the header has 2"),
        ("time,value\n1,2\n2,x\n", 'series.csv, line 3, column "value": "x" is not a finite number'),
        ("time,value\n1,2\n2,1e39\n", 'line 3, column "value": "1e39" is not a finite number'),
        ("time,value\n1,2\n1,3\n", 'line 3: "time" must ascend'),
        ("time,value\n1,2\n,3\n", 'line 3: "time" must ascend'),
        ("time,value\n1700000000,2\n1700000060,3\n", "in float32, .* goes from 1.7e.09 to 1.7e.09"),
        (
            "time,value\n1990-01-01,2\n",
            'line 2, column "time": "1990-01-01" is not .* "time" is a number such as a year',
        ),
        ("time;value\n1;2\n", "line 1: ';' separates the columns; save the file with commas"),
        ("time\tvalue\n1\t2\n", "line 1: '.t' separates the columns"),
        ("time,values\n1,2\n", 'no column "value"; did you mean "values"'),
        ("value,value\n1,2\n", 'line 1: the column name "value" must be there, and once only'),
        ("value\n", "has a header and no rows"),
        ("", "is empty"),
        ('value\n"1"2\n', "is not comma-separated text"),
        (b"value\n1\n2\xe9\n", "line 3: this is not UTF-8 text"),
    ],
)
def test_a_bad_csv_file_is_named_with_line_and_column(tmp_path, text, message):
    path = tmp_path / "series.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UsageError, match=message) as caught:
        Series(str(path)).open("train")
    assert "\n" not in str(caught.value)


def test_an_empty_cell_is_missing_and_a_changed_file_is_read_again(tmp_path):
    path = tmp_path / "series.csv"
    path.write_text("value\n1\n\nNaN\n" + "4\n" * 17)
    value = Series(str(path), window=3, season=2, presence=True)
    np.testing.assert_array_equal(value.open("train").arrays()["history"][0], [1, NAN, NAN])
    path.write_text("value\n1\n2\n3\n" + "40\n" * 17)
    np.testing.assert_array_equal(value.open("train").arrays()["history"][0], [1, 2, 3])


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch):
    (tmp_path / "series.csv").write_text("value\n" + "4\n" * 20)
    monkeypatch.setenv("HOME", str(tmp_path))
    value = Series("~/series.csv", window=3, season=2)
    assert len(value.open("train")) == 11 and '"bytes": 46' in value.files()["dataset.json"]


def test_bad_npz_files(tmp_path):
    path = tmp_path / "series.npz"
    with pytest.raises(UsageError, match="cannot read .*series.npz: No such file"):
        Series(str(path)).open("train")
    path.write_bytes(b"nothing")
    with pytest.raises(UsageError, match="not a whole NPZ file"):
        Series(str(path)).open("train")
    with path.open("wb") as file:
        np.save(file, np.arange(30))
    with pytest.raises(UsageError, match="one array without a name"):
        Series(str(path)).open("train")
    for array, message in (
        (np.array([1, None]), "not a whole NPZ file of plain numbers"),
        (np.array(["a"]), "must hold numbers"),
        (np.array([np.inf]), "infinite numbers"),
        (np.zeros((30, 2)), r"is \(30, 2\); a series has one number a point"),
    ):
        np.savez(path, value=array)
        with pytest.raises(UsageError, match=message):
            Series(str(path)).open("train")
    np.savez_compressed(path, value=np.arange(1000) % 97)
    content = path.read_bytes()
    path.write_bytes(content[:100] + bytes(50) + content[150:])
    with pytest.raises(UsageError, match="not a whole NPZ file"):
        Series(str(path)).open("train")


def test_a_dataset_that_is_no_series_says_so(data_dir):
    with pytest.raises(UsageError, match='"digits" is no series .*; its examples have: image, label'):
        Series("digits", validation="train[:9]", train="train[9:]").open("train", data_dir)


@pytest.mark.parametrize("name", ["sunspots", "co2"])
def test_a_missing_or_changed_package_is_named(name, monkeypatch, tmp_path):
    find_spec = installed.importlib.util.find_spec
    with monkeypatch.context() as patch:
        patch.setattr(
            installed.importlib.util, "find_spec", lambda name: None if name == "statsmodels" else find_spec(name)
        )
        assert Series(name).spec()["history"].shape == (22,)
        with pytest.raises(UsageError, match=r'pip install "ceteris-research\[series\]"'):
            Series(name).open("train", str(tmp_path))
    if find_spec("statsmodels"):
        monkeypatch.setattr(builders.OWN[name], "_years", lambda self, cell: 0.0)
        with pytest.raises(UsageError, match=r"statsmodels .* holds other numbers"):
            Series(name).open("train", str(tmp_path))


def test_standardisation_of_another_series_is_noticed(tmp_path, caplog):
    path = tmp_path / "hot.csv"
    path.write_text("value\n" + "\n".join(str(1000 + step % 7) for step in range(90)))
    own = Series(str(path), window=5, season=7)
    own.open("train")
    assert "a mean of 1003 and a standard deviation of 2, but data.mean is 42.9 and data.std 34.2" in caplog.text
    caplog.clear()
    mean, std = own.statistics()
    dataclasses.replace(own, mean=mean + std / 2, std=2 * std).open("train")
    assert not caplog.text
