"""CSV files of numbers: parsed once, a block at a time, into one array a column.

Arrow parses what is plain. What it refuses, or might read otherwise than Python, is read by Python, which names the
fault: a block of one column where a cell is no plain number, else the whole file. Either gives the same bits.
"""

import codecs
import collections
import contextlib
import csv
import itertools
import math
from collections.abc import Iterable, Iterator, Sequence, Set
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from research.data.storage import precision
from research.errors import UsageError
from research.fields import LARGEST

Column = np.ndarray | str
"""Numbers [n], NaN where a cell is empty, float32 where that holds them; or the sentence that says what is none."""

_BLOCK = 2 * 2**20  # bytes parsed at a time; between two blocks Python heeds signals
_OF_COLUMN = 2**10  # of each column at least, since of every block each takes longer than its numbers: a hundred or so
_ROWS = 4096  # rows parsed at a time where Python does it


def read(path: str) -> dict[str, Column]:
    """Return each column by its name in the first line.

    Raises:
        UsageError: the file cannot be read, or is no table of comma-separated text with a name for each column.
    """
    file = Path(path).expanduser()
    try:
        columns = _columns(file, path, set())
        if wide := {name for name, column in columns.items() if column.rounding.matters()}:
            columns = _columns(file, path, wide)  # from the beginning, so that no number is rounded
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    return {name: column.column() for name, column in columns.items()}


def words(path: str, name: str) -> tuple[str, ...]:
    """Return the cells of a column of a file that `read` reads, without the blanks around them."""
    try:
        with Path(path).expanduser().open(encoding="utf-8-sig", newline="") as text:
            reader = csv.reader(_lines(text), strict=True)
            column = _names(next(reader)).index(name)
            return tuple(cells[column].strip() if cells else "" for cells in reader)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error


def place(path: str, row: int) -> str:
    """Return in words where a row, counted from 0 below the header, is in its file."""
    return f"{path}, line {row + 2}"


class _Growing:
    """A column while its file is read, in an array that has room for so many numbers and grows where they are more."""

    def __init__(self, path: str, name: str, wide: bool, room: int = _ROWS) -> None:
        self._path, self._name = path, name
        self._numbers, self._count = np.empty(room, np.float64 if wide else np.float32), 0
        self._fault = ""
        self.rounding = precision.Rounding()

    def add(self, numbers: np.ndarray) -> None:
        """Take the next numbers."""
        self.rounding.add(numbers)
        stop = self._count + len(numbers)
        if stop > len(self._numbers):
            self._numbers.resize(2 * stop, refcheck=False)  # nothing else refers to it
        self._numbers[self._count : stop] = numbers
        self._count = stop

    def read(self, cells: Iterable[str | None], row: int) -> None:
        """Take the next cells, of which the first is in this row; after one that is no number nothing is kept."""
        if self._fault:
            return
        numbers = []
        for index, cell in enumerate(cells, row):
            found = number(cell or "")
            if found is None:
                self._numbers, self.rounding = np.empty(0, np.float32), precision.Rounding()
                self._fault = (
                    f'{place(self._path, index)}, column "{self._name}": "{cell}" is not a finite number; leave the '
                    "cell empty where a value is missing"
                )
                return
            numbers.append(found)
        self.add(np.array(numbers))

    @property
    def whole(self) -> bool:
        """Whether all cells so far were numbers."""
        return not self._fault

    def column(self) -> Column:
        """Return what has come of it."""
        if self._fault:
            return self._fault
        self._numbers.resize(self._count, refcheck=False)
        return self._numbers


def _columns(file: Path, path: str, wide: Set[str]) -> dict[str, _Growing]:
    """Return the columns of a file, of which some are to be `wide`: float64."""
    found = _quickly(file, path, wide)
    return _carefully(file, path, wide) if found is None else found


def _quickly(file: Path, path: str, wide: Set[str]) -> dict[str, _Growing] | None:
    """Return what Arrow reads in a file, None where Python has to look at it."""
    with file.open("rb") as content:
        lines = sum(block.count(b"\n") for block in _blocks(content))
        content.seek(0)
        line = content.readline().removesuffix(b"\n")
        try:
            names = _names(next(csv.reader([line.decode("utf-8-sig")], strict=True), []))
        except (UnicodeDecodeError, csv.Error):
            return None
        if _wrong_names(names, path) is not None:
            return None
        columns, row = [_Growing(path, name, name in wide, lines - 1) for name in names], 0
        content.seek(len(line) + 1)
        for block in _blocks(content, max(_BLOCK, _OF_COLUMN * len(names))):
            cells = _cells(block, len(names))
            if cells is None:
                return None
            _add(columns, cells, row)
            row += len(cells[0])
    return dict(zip(names, columns, strict=True)) if row else None


def _blocks(content: BinaryIO, size: int = _BLOCK) -> Iterator[bytes]:
    """Yield whole lines, many at a time, without the empty ones that end the file."""
    kept = b""
    while more := content.read(size):
        kept += more
        # All but the last line that is not empty: what comes after that one may be the end.
        stop = kept.rstrip(b"\r\n").rfind(b"\n") + 1
        if stop:
            yield kept[:stop]
            kept = kept[stop:]
    if last := kept.rstrip(b"\r\n"):
        yield last + b"\n"  # without which Arrow refuses a single line


def _cells(block: bytes, count: int) -> list[Any] | None:
    """Return the cells of whole lines as Arrow's strings by column, null where empty; None where Python has to look."""
    import pyarrow
    from pyarrow import compute
    from pyarrow import csv as arrow

    # Arrow would take "2"x for 2x, and leave out a byte order mark at the beginning of any block.
    if b'"' in block or block.startswith(codecs.BOM_UTF8):
        return None
    names = [f"f{index}" for index in range(count)]
    try:
        table = arrow.read_csv(
            pyarrow.BufferReader(block),
            arrow.ReadOptions(use_threads=False, block_size=len(block) + 1, autogenerate_column_names=True),
            # An empty line is an empty cell where there is one column; where there are more it would be a row of them.
            arrow.ParseOptions(quote_char=False, ignore_empty_lines=count > 1),
            arrow.ConvertOptions(
                column_types=dict.fromkeys(names, pyarrow.string()),
                null_values=["", "nan", "NaN"],
                strings_can_be_null=True,
            ),
        )
    except (pyarrow.ArrowInvalid, OverflowError):
        return None
    # Lines may also end in a lone \r, and Arrow leaves out empty ones.
    if table.column_names != names or table.num_rows != block.count(b"\n"):
        return None
    # Python refuses longer cells, whatever is in them.
    if (compute.max(compute.binary_length(_together(table.columns))).as_py() or 0) > csv.field_size_limit():
        return None
    return table.columns


def _together(cells: Sequence[Any]) -> Any:
    """Return the cells of columns, one column after the other: a call of Arrow takes longer than many numbers."""
    import pyarrow

    return pyarrow.chunked_array([chunk for column in cells for chunk in column.chunks], pyarrow.string())


def _add(columns: Sequence[_Growing], cells: Sequence[Any], row: int) -> None:
    """Let columns take the next cells, which are Arrow's strings, unless there was one that is no number."""
    whole = [(column, part) for column, part in zip(columns, cells, strict=True) if column.whole]
    numbers = _numbers([part for _, part in whole]) if whole else None
    for index, (column, part) in enumerate(whole):
        if numbers is not None:
            column.add(numbers[index])
        elif (alone := _numbers([part])) is not None:
            column.add(alone[0])
        else:
            column.read(part.to_pylist(), row)


def _numbers(cells: Sequence[Any]) -> np.ndarray | None:
    """Return the numbers [columns, n] in cells, NaN where one is null; None where one is no finite number."""
    import pyarrow

    strings = _together(cells)
    try:
        numbers = strings.cast(pyarrow.float64()).to_numpy()
    except pyarrow.ArrowInvalid:
        return None
    if np.count_nonzero(np.abs(numbers) <= LARGEST) + strings.null_count < len(numbers):
        return None
    return numbers.reshape(len(cells), -1)


def _carefully(file: Path, path: str, wide: Set[str]) -> dict[str, _Growing]:
    """Return what Python's reader finds in a file, a row at a time. Raises `UsageError` where that is no table."""
    _check_text(file, path)
    with file.open(encoding="utf-8-sig", newline="") as text:
        reader = csv.reader(_lines(text), strict=True)
        try:
            header = next(reader, None)
            if header is None:
                raise UsageError(f"{path} is empty; its first line must name the columns")
            names = _names(header)
            wrong = _wrong_names(names, path)
            columns, row = [_Growing(path, name, name in wide) for name in names], 0
            # Read to its end even where something is wrong: that it is no such text is said before all else.
            while rows := [cells or [""] for cells in itertools.islice(reader, _ROWS)]:
                if wrong is None:
                    wrong = _wrong_lengths(rows, len(names), path, row)
                if wrong is None:
                    for column, cells in zip(columns, zip(*rows, strict=True), strict=True):
                        column.read(cells, row)
                row += len(rows)
        except csv.Error as error:
            raise UsageError(f"{path}, line {reader.line_num}: this is not comma-separated text: {error}") from error
    if wrong is not None:
        raise UsageError(wrong)
    if not row:
        raise UsageError(f"{path} has a header and no rows")
    return dict(zip(names, columns, strict=True))


def _check_text(file: Path, path: str) -> None:
    """Raise `UsageError` where a file is not UTF-8."""
    decoder, line = codecs.getincrementaldecoder("utf-8")(), 1
    with file.open("rb") as content:
        try:
            while block := content.read(_BLOCK):
                line += decoder.decode(block).count("\n")
            decoder.decode(b"", final=True)
        except UnicodeDecodeError as error:
            line += error.object[: error.start].count(b"\n")
            raise UsageError(f"{path}, line {line}: this is not UTF-8 text; save the file as UTF-8") from error


def _lines(text: Iterable[str]) -> Iterator[str]:
    """Yield lines without the empty ones that end the file, nor the end of the last one."""
    kept: list[str] = []
    for line in text:
        if line.strip("\r\n"):
            yield from kept
            kept.clear()
        kept.append(line)
    if kept and (last := kept[0].rstrip("\r\n")):
        yield last


def _names(header: Sequence[str]) -> list[str]:
    """Return the names of columns in the first row."""
    return [name.strip() for name in header or [""]]


def _wrong_names(names: Sequence[str], path: str) -> str | None:
    """Return what is wrong with the names of columns."""
    if len(names) == 1 and (other := next((mark for mark in (";", "\t") if mark in names[0]), None)):
        return f"{path}, line 1: {other!r} separates the columns; save the file with commas"
    for name, times in collections.Counter(names).items():
        if not name or times > 1:
            return f'{path}, line 1: the column name "{name}" must be there, and once only'
    return None


def _wrong_lengths(rows: Sequence[Sequence[str]], count: int, path: str, row: int) -> str | None:
    """Return which of some rows, the first of which is this one, has not as many cells as the header."""
    for index, cells in enumerate(rows, row):
        if len(cells) != count:
            return f"{place(path, index)}: {len(cells)} cells where the header has {count}"
    return None


def number(cell: str) -> float | None:
    """Return what a cell holds, NaN where it is empty; None where that is no finite number.

    Python reads 2_1 as 21, which in a file is rather a typing error or a label.
    """
    if "_" in cell:
        return None
    with contextlib.suppress(ValueError):
        number = float(cell.strip() or "nan")
        if math.isnan(number) or abs(number) <= LARGEST:
            return number
    return None
