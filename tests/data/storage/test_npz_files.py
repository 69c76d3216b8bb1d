import zipfile

import numpy as np
import pytest

from research.data import files
from research.data.storage import npz_files
from research.errors import UsageError

KINDS = ("f2", "f4", "f8", ">f8", "g", "i1", "i8", "u8", "?")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("order", ["C", "F"])
def test_numbers_are_those_of_the_array_as_float32(kind, order, tmp_path):
    values = np.random.default_rng(0).normal(size=(7, 3, 2)) * 50
    with np.errstate(invalid="ignore"):
        values = np.asarray(values.astype(kind), order=order)
    if np.dtype(kind).kind == "f":
        values[2, 1, 1] = np.nan
    np.savez(tmp_path / "t.npz", a=values)
    found = npz_files.read(str(tmp_path / "t.npz"))["a"]
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found.view(np.uint32), values.astype(np.float32).view(np.uint32))


@pytest.mark.parametrize("number", [np.inf, -np.inf, 1e39, -1e39])
def test_an_infinite_number_is_refused_wherever_it_is(number, tmp_path):
    for place in (0, 5, 12):
        values = np.full(13, np.nan)
        values[place] = number
        np.savez(tmp_path / "t.npz", a=values, b=values.astype("g"), c=[1.0])
        found = npz_files.read(str(tmp_path / "t.npz"))
        assert found["a"].endswith('the array "a" has infinite numbers; a missing one is NaN') and "b" in found["b"]
        assert found["c"] == [1]


@pytest.mark.fault("F41")
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_arrays_of_one_name_are_refused(tmp_path):
    """Which of them is meant nobody can tell, and NumPy takes the last."""
    path = tmp_path / "t.npz"
    with zipfile.ZipFile(path, "w") as file:
        for values in ([1.0], [2.0]):
            with file.open("a.npy", "w") as member:
                np.lib.format.write_array(member, np.array(values))
    with pytest.raises(UsageError, match='has 2 arrays of the name "a"'):
        npz_files.read(str(path))


def test_float32_is_not_copied_and_is_shared_by_those_who_may_not_write(tmp_path, monkeypatch):
    held, path = np.ones((5, 3), np.float32), str(tmp_path / "t.npz")
    assert npz_files._numbers(path, "a", held) is held
    np.savez(path, a=held)
    assert files.numbers(path, "a") is files.numbers(path, "a")
    with pytest.raises(ValueError, match="read-only"):
        files.numbers(path, "a")[0] = 2
