import json
import math

import numpy as np
import pytest

from research.data import Table
from research.data.storage import csv_files, json_lines
from research.errors import UsageError


@pytest.fixture
def written(tmp_path):
    """Writes lines, and returns the path of their file."""

    def write(*lines, name="t.jsonl"):
        (tmp_path / name).write_bytes(b"\n".join(line if isinstance(line, bytes) else line.encode() for line in lines))
        return str(tmp_path / name)

    return write


def test_numbers_are_those_of_a_csv_file_of_the_same(written):
    """To the bit, in more rows than are packed at a time, with gaps and a column that float32 would make one of."""
    generator = np.random.default_rng(0)
    columns = {"a": generator.normal(size=9000), "b": 1.7e9 + np.arange(9000), "c": np.arange(9000)}
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    for row in rows[7::5]:
        row["a"] = None
    comma = ",".join
    csv = written(
        comma(columns),
        *(comma("" if value is None else repr(float(value)) for value in row.values()) for row in rows),
        name="t.csv",
    )
    lines = written(
        *(
            json.dumps({name: value for name, value in row.items() if value is not None})
            for row in [{name: None if value is None else float(value) for name, value in row.items()} for row in rows]
        )
    )
    expected, found = csv_files.read(csv), json_lines.read(lines)
    assert list(found) == list(expected) and found["b"].dtype == np.float64
    for name, column in expected.items():
        assert found[name].dtype == column.dtype
        np.testing.assert_array_equal(found[name], column)


def test_a_name_may_come_late_and_be_left_out(written):
    path = written('{"a": 1, "b": true}', '{"b": false, "c": 5}', '{"a": null, "c": NaN}', "", "")
    found = json_lines.read(path)
    nan = math.nan
    for name, values in {"a": [1, nan, nan], "b": [1, 0, nan], "c": [nan, 5, nan]}.items():
        np.testing.assert_array_equal(found[name], np.array(values, np.float32))


@pytest.mark.parametrize("value", ['"2"', "[1]", "{}", "Infinity", "1e39", "1" * 400])
def test_a_value_that_is_no_number_is_named_when_its_column_is_asked_for(value, written):
    found = json_lines.read(written('{"a": 1, "b": 1}', f'{{"a": 2, "b": {value}}}'))
    np.testing.assert_array_equal(found["a"], [1, 2])
    assert found["b"].startswith(written("") + ', line 2, "b": ') and "is not a finite number; write null" in found["b"]


@pytest.mark.fault("F29")
@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (("",), "holds no objects; each line must be one"),
        (('{"a": 1}', "", '{"a": 1}'), "line 2 is empty"),
        (('{"a": 1}', "[1]"), "line 2 is no object"),
        (('{"a": 1}', '{"a": 1'), "line 2: this is not JSON, or cut short: Expecting ',' delimiter at character"),
        (('{"a": 1, "a": 2}',), 'line 1: the name "a" is there 2 times'),
        (('{"a": {"b": 1, "b": 2}}',), 'line 1: the name "b" is there 2 times'),
        ((b'{"a": "\xff"}',), "line 1: this is not UTF-8 text"),
        ((r'{"a": "\ud800"}',), "line 1: this is not UTF-8 text"),
        (("[" * 100_000,), "line 1: a number in it is too long, or it is nested too deeply"),
        (('{"a": ' + "1" * 5000 + "}",), "line 1: a number in it is too long"),
    ],
    ids=range(10),
)
def test_a_damaged_line_is_named(lines, said, written):
    for read in (json_lines.read, lambda path: json_lines.words(path, "a")):
        if lines == ("",) and read is not json_lines.read:
            continue
        with pytest.raises(UsageError) as caught:
            read(written(*lines))
        assert said in str(caught.value) and "\n" not in str(caught.value)


def test_texts_are_as_they_are_and_none_is_left_out(written):
    path = written('\ufeff{"text": " a\\n", "n": 1}', '{"text": "b", "title": "c"}')
    assert json_lines.texts(path, "text") == (" a\n", "b")
    with pytest.raises(UsageError, match='line 1: there is no text "title"; the texts there are: text$'):
        json_lines.texts(path, "title")


def test_words_of_a_table_are_classes(written):
    """Strings without the blanks around them, and numbers as JSON writes them."""
    rows = [{"x": index, "kind": (" lily", "rose", 8)[index % 3]} for index in range(30)]
    data = Table(
        written(*map(json.dumps, rows)), 1, kind="classes", target=("kind",), outputs=3, classes=("8", "lily", "rose")
    )
    assert np.bincount(data.open("train").arrays()["label"]).tolist() == [7, 7, 7]
    with pytest.raises(UsageError, match='line 3, column ".*": "8" is none of the classes lily, rose; correct it'):
        Table(data.name, 1, kind="classes", target=("kind",), outputs=2, classes=("lily", "rose")).open("train")
