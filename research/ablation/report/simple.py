"""Rows of a report for simple baselines, which no test compares with the cells."""

import math
from collections.abc import Iterable, Sequence

from research.ablation.design.names import shown
from research.ablation.report.entries import Column, Entry, Receipt, Row
from research.ablation.report.tables import summarized
from research.baselines import Judgement

MARK = "† "
"""Stands before their names, so that none looks like a cell."""


def simple_rows(judgements: Iterable[Judgement], columns: Sequence[Column], study: str) -> tuple[Row, ...]:
    """Return a row for each baseline, in the order of `judgements`, with an entry for each column of the study.

    Where a baseline was changed, what it was before keeps its row: both names then end with their fingerprints.
    """
    groups: dict[tuple[str, str], list[Judgement]] = {}
    for judgement in judgements:
        groups.setdefault((judgement.name, judgement.fingerprint), []).append(judgement)
    names = [name for name, _ in groups]
    return tuple(
        Row(
            name=MARK + (name if names.count(name) == 1 else f"{name} {fingerprint}"),
            aliases=(),
            tuned="",
            entries=tuple(_entry(group, column) for column in columns),
            receipts=(_receipt(group, study),),
        )
        for (name, fingerprint), group in groups.items()
    )


def _entry(group: Sequence[Judgement], column: Column) -> Entry:
    """Return what a baseline says about one metric."""
    found = {
        judgement.seed: judgement.metrics.get(column.split, {}).get(column.metric, math.nan)
        for judgement in group
        if not judgement.error
    }
    return summarized(
        {seed: value for seed, value in found.items() if math.isfinite(value)},
        diverged=tuple(seed for seed, value in found.items() if not math.isfinite(value)),
        failed=tuple(judgement.seed for judgement in group if judgement.error),
        missing=(),
    )


def _receipt(group: Sequence[Judgement], study: str) -> Receipt:
    """Return where the numbers of a baseline come from."""
    seconds = [judgement.seconds["total"] for judgement in group if "total" in judgement.seconds]
    versions = (", ".join(f"{name} {version}" for name, version in each.versions.items()) for each in group)
    return Receipt(
        study=study,
        fingerprint=group[0].fingerprint,
        overrides={field: shown(value, exact=True) for field, value in group[0].baseline.items()},
        seeds=tuple(judgement.seed for judgement in group),
        parameters=None,
        seconds=sum(seconds) / len(seconds) if seconds else math.nan,
        commits=tuple(dict.fromkeys(judgement.commit for judgement in group if judgement.commit)),
        codes=(),
        versions=tuple(dict.fromkeys(line for line in versions if line)),
        devices=(),
        modes=(),
        errors={judgement.seed: judgement.error for judgement in group if judgement.error},
    )
