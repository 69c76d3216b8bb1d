"""A table as CSV: every number with all its digits, one row a cell."""

import csv
import io
import math
from collections.abc import Iterator

from research.ablation.report.entries import Column, Entry, Receipt, ReportTable, Row


def spreadsheet(table: ReportTable) -> str:
    """Return the table as CSV with a header.

    A number is written so that it reads back equal; what is not there, and NaN, is empty. The columns of a metric begin
    with its split and name, in merged tables after the study, as in ``test.accuracy.mean``.
    """
    several = len(table.studies) > 1
    rows = [dict(_fields(table, row, several)) for row in table.lines]
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def harmless(text: str) -> str:
    """Return text that no spreadsheet takes for a formula, which can run programs: with an apostrophe before."""
    text = text.replace("\r", " ")  # which Python 3.11 does not quote, so that a row would end with it
    return f"'{text}" if text.lstrip().startswith(("=", "+", "-", "@")) else text


def _fields(table: ReportTable, row: Row, several: bool) -> Iterator[tuple[str, str]]:
    """Yield (name, text) of a row."""
    names = (("variant", row.name), ("aliases", "; ".join(row.aliases)), ("tuned", row.tuned))
    yield from ((name, harmless(text)) for name, text in names)
    for column, entry in zip(table.columns, row.entries, strict=True):
        if entry is not None:
            prefix = f"{column.study}." if several else ""
            for name, value in _numbers(column, entry):
                yield harmless(f"{prefix}{column.split}.{column.metric}.{name}"), _text(value)
    for receipt in row.receipts:
        prefix = f"{receipt.study}." if several else ""
        yield from ((harmless(prefix + name), text) for name, text in _receipt(receipt))
    yield "kind", "baseline" if row in table.simple else "cell"


def _numbers(column: Column, entry: Entry) -> Iterator[tuple[str, float | bool | str | None]]:
    """Yield everything an entry knows."""
    yield from (("n", entry.n), ("diverged", len(entry.diverged)), ("failed", len(entry.failed)))
    yield from (("missing", len(entry.missing)), ("mean", entry.mean), ("sd", entry.sd))
    yield from (("low", entry.interval.low), ("high", entry.interval.high))
    comparison = entry.comparison
    yield "pairs", None if comparison is None else comparison.n
    yield "difference", None if comparison is None else comparison.difference
    yield "difference_sd", entry.difference_sd
    yield "difference_low", None if comparison is None else comparison.interval.low
    yield "difference_high", None if comparison is None else comparison.interval.high
    yield "t_p", None if comparison is None else comparison.t_p
    yield "permutation_p", None if comparison is None else comparison.permutation_p
    yield from (("holm_t_p", entry.holm_t_p), ("holm_permutation_p", entry.holm_permutation_p))
    yield "effect", None if comparison is None else comparison.effect
    yield "better", None if comparison is None else comparison.better
    yield "correlation", None if comparison is None else comparison.correlation
    yield from (("variance_ratio", entry.variance_ratio), ("marked", entry.marked), ("equivalent", entry.equivalent))
    yield from (("corrected_p", entry.corrected_p), ("divergence_p", entry.divergence_p))
    yield from (("verdict", entry.verdict), ("lost_pairs", entry.lost))
    yield from (("maximize", column.maximize), ("alpha", column.alpha), ("margin", column.margin))
    yield from ((f"seed_{seed}", entry.values.get(seed)) for seed in column.seeds)


def _receipt(receipt: Receipt) -> Iterator[tuple[str, str]]:
    """Yield where the numbers of a row come from."""
    texts = (
        ("overrides", "; ".join(f"{path}={value}" for path, value in receipt.overrides.items())),
        ("parameters", _text(receipt.parameters)),
        ("seconds", _text(receipt.seconds)),
        ("fingerprint", receipt.fingerprint),
        ("seeds", " ".join(map(str, receipt.seeds))),
        ("mode", "; ".join(receipt.modes)),
        ("device", "; ".join(receipt.devices)),
        ("commit", "; ".join(receipt.commits)),
        ("code", "; ".join(receipt.codes)),
        ("versions", "; ".join(receipt.versions)),
        ("errors", "; ".join(f"seed {seed}: {error}" for seed, error in receipt.errors.items())),
    )
    yield from ((name, harmless(text)) for name, text in texts)


def _text(value: float | bool | str | None) -> str:
    """Return a value with all its digits."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return repr(float(value)) if isinstance(value, float) else str(value)  # repr of a NumPy float names its type
