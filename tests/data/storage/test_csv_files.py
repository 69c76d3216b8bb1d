"""What Arrow parses is what Python's csv module and `float` make of the same file, to the last bit."""

import csv
import io

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from research.data.storage import csv_files
from research.errors import UsageError

PLAIN = ("1", "-2.5", "0.1", "1e-3", "16777217", "3.4028235e38", "1e-46", "0", "-0.0", "5.", ".5", "1E5", "007")
ODD = ("", " ", "NaN", "nan", "-nan", "nan(7)", "inf", "-Infinity", "1e39", "1e999", "1_000", "1__0", "+1", " 2", "3\t")
WORSE = ("\xa04", "٣", "0x10", "1e", "1d5", "--1", "red", "née", "\0", "null", "NA", "true", "\ufeff1", "\x0b6", "1f")
QUOTED = ('"1"', '""', '"2"x', '"2"5', '"', '"1\n"', '"1,5"', ' "1"', '1"', '"3""4"')

numbers = st.floats(width=64, allow_nan=False, allow_infinity=False).map(repr)
cell = st.one_of(st.sampled_from(PLAIN), numbers, st.sampled_from(ODD), st.sampled_from(WORSE))


def spoiled(separator):
    """A file of a few rows, most of them as long as the header, with plain, odd and quoted cells."""
    row = st.lists(st.one_of(cell, st.sampled_from(QUOTED)), min_size=1, max_size=3)
    return st.lists(row, max_size=6).map(lambda rows: separator.join(",".join(cells) for cells in rows))


tables = st.integers(1, 3).flatmap(
    lambda width: st.tuples(
        st.just(",".join("abc"[:width])),
        st.lists(st.lists(st.one_of(st.sampled_from(PLAIN), cell), min_size=width, max_size=width), max_size=9),
        st.sampled_from(["\n", "\r\n", "\r"]),
        st.sampled_from(["", "\n", "\r\n\r\n"]),
    ).map(lambda parts: parts[2].join([parts[0], *map(",".join, parts[1])]) + parts[3])
)


def plainly(path):
    """What is in a file by the whole of it at once: numbers of a column, or None where one is no number."""
    text = path.read_bytes().decode("utf-8-sig")
    header, *rows = [row or [""] for row in csv.reader(io.StringIO(text.rstrip("\r\n"), newline=""), strict=True)]
    names = [name.strip() for name in header]
    assert rows and all(len(row) == len(header) for row in rows) and len({*names, ""}) == len(names) + 1
    assert len(names) > 1 or not {";", "\t"} & set(names[0])
    found = {}
    for name, cells in zip(names, zip(*rows, strict=True), strict=True):
        try:
            # A number with an underscore is one in Python's source and nowhere else.
            column = np.array([float(item.strip().replace("_", "x") or "nan") for item in cells])
        except ValueError:
            column = np.array([np.inf])
        whole = (np.isnan(column) | (np.abs(column) <= np.finfo(np.float32).max)).all()
        found[name] = narrowed(column) if whole else None
    return found


def narrowed(column):
    """A column as float32, unless rounding changes a number by more than 1e-6 or so of the stretch they lie in."""
    known = column[~np.isnan(column)]
    changed = np.abs(known - known.astype(np.float32)).max(initial=0)
    return column if changed > 2.0**-20 * np.ptp(known if known.size else [0]) > 0 else column.astype(np.float32)


def same(found, expected):
    """Whether columns agree to the last bit."""
    assert found.keys() == expected.keys()
    for name, column in expected.items():
        if column is None:
            assert isinstance(found[name], str)
        else:
            assert found[name].dtype == column.dtype
            np.testing.assert_array_equal(found[name].view(np.uint32), column.view(np.uint32))


def carefully(path):
    """What is read where Arrow reads nothing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_files, "_quickly", lambda *_: None)
        return csv_files.read(str(path))


@given(st.one_of(tables, spoiled("\n"), spoiled("\r\n")), st.integers(1, 40), st.booleans())
@example("a,b\n1,2\n\n\n3,4", 5, False)
@example("a\n1\n\n\n2\n\n", 3, False)
@example("a\n\n\n", 2, True)
@example("a,b\n1,2\n\ufeff3,4", 8, True)
@example("a\n1e999", 99, False)
@example("a,b\n2_1,1_000", 99, False)
@example("a,b\n1700000000,1700000000\n1700000001,1700000000\n,", 30, False)
@example("a,b\n0,1\n1e9,2\n1000000001,3", 20, False)
@example('a,b\n1,"2"5\n3,4', 99, False)
@example("a,b\n1,2\r3,4\n5,6\r\r\n7,8", 99, False)
@example("a,b\r1,2\r3,4", 99, False)
def test_a_file_is_read_as_by_python(tmp_path_factory, content, block, marked):
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_bytes(("\ufeff" * marked + content).encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_files, "_BLOCK", block)
        patch.setattr(csv_files, "_OF_COLUMN", 1)
        try:
            found = csv_files.read(str(path))
        except UsageError as error:
            with pytest.raises(UsageError) as careful:
                carefully(path)
            assert str(error) == str(careful.value)
            with pytest.raises((AssertionError, ValueError, csv.Error)):
                assert all(plainly(path).keys())
        else:
            same(found, plainly(path))
            careful = carefully(path)
            same(found, {name: None if isinstance(column, str) else column for name, column in careful.items()})
            assert [found[n] for n in careful if isinstance(found[n], str)] == [
                column for column in careful.values() if isinstance(column, str)
            ]


def test_what_is_plain_is_not_read_by_python(tmp_path, monkeypatch):
    """Neither are missing cells, a column of text, a quoted header nor the ends of lines of other systems."""
    path = tmp_path / "t.csv"
    path.write_bytes(
        b'"a","b",when\r\n' + b"".join(b"%d.5,%s,2001-01-%02d\r\n" % (i, (b"", b"NaN")[i % 2], i) for i in range(23))
    )
    monkeypatch.setattr(csv_files, "_BLOCK", 50)
    monkeypatch.setattr(csv_files, "_OF_COLUMN", 1)
    monkeypatch.setattr(csv_files, "_carefully", None)
    found = csv_files.read(str(path))
    np.testing.assert_array_equal(found["a"], np.arange(23, dtype=np.float32) + 0.5)
    assert np.isnan(found["b"]).all() and len(found["b"]) == 23
    assert found["when"].startswith(f'{path}, line 2, column "when": "2001-01-00" is not a finite number')


def test_columns_are_many_without_blocks_being_so(tmp_path, monkeypatch):
    """Of 20,000 columns a block of so many bytes held ten rows, and each column took its time in each of them."""
    path, blocks, cells = tmp_path / "t.csv", [], csv_files._cells

    def counted(block, count):
        blocks.append(block.count(b"\n"))
        return cells(block, count)

    monkeypatch.setattr(csv_files, "_BLOCK", 64)
    monkeypatch.setattr(csv_files, "_cells", counted)
    for columns in (30, 300):
        row = ",".join(map(str, range(columns)))
        path.write_text("\n".join([",".join(f"c{i}" for i in range(columns)), *[row] * 600]))
        found = csv_files.read(str(path))
        np.testing.assert_array_equal(found[f"c{columns - 1}"], np.full(600, columns - 1, np.float32))
        assert sum(blocks) == 600 and max(blocks) > 200
        blocks.clear()


@pytest.mark.parametrize("line", range(2, 25, 4))
def test_the_first_cell_that_is_no_number_is_named(line, tmp_path, monkeypatch):
    rows = [f"{i},{i}" for i in range(23)]
    for bad in (line, 24):
        rows[bad - 2] = f"1,bad {bad}"
    path = tmp_path / "t.csv"
    path.write_text("\n".join(["a,b", *rows]))
    monkeypatch.setattr(csv_files, "_BLOCK", 40)
    monkeypatch.setattr(csv_files, "_OF_COLUMN", 1)
    assert f'line {line}, column "b": "bad {line}" is not' in csv_files.read(str(path))["b"]


def test_what_is_no_text_is_said_before_what_is_no_table(tmp_path, monkeypatch):
    monkeypatch.setattr(csv_files, "_BLOCK", 8)
    path = tmp_path / "t.csv"
    lines = [b"a,a", b"1,2", b"1", b"1,\xc3", b'1,"2"x']
    said = ["line 4: this is not UTF-8", "line 4: this is not comma-separated", 'line 1: the column name "a"']
    for part, kept in zip(said, (lines, lines[:3] + lines[4:], lines[:3]), strict=True):
        path.write_bytes(b"\n".join(kept))
        with pytest.raises(UsageError, match=part):
            csv_files.read(str(path))
