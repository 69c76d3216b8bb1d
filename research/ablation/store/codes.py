"""Trials of other code, which no table pools: what is changed besides what a study varies makes its cells unequal."""

from collections.abc import Iterable

from research.ablation.store.study_folder import Outcome
from research.training.identity import UNKNOWN


def of_one_code(outcomes: Iterable[Outcome]) -> tuple[list[Outcome], tuple[str, ...]]:
    """Return the trials of the code that most finished ones are of, with those not finished yet, and remarks.

    Two trials are of one code unless a module that both have differs.
    """
    outcomes = list(outcomes)
    groups: list[tuple[dict[str, str], list[Outcome]]] = []
    for outcome in outcomes:
        if outcome.finished:
            own = outcome.code.modules if outcome.code is not None else {UNKNOWN: ""}
            for modules, members in groups:
                if (UNKNOWN in modules) == (UNKNOWN in own) and not _differing(modules, own):
                    modules |= own
                    members.append(outcome)
                    break
            else:
                groups.append((dict(own), [outcome]))
    if not groups:
        return outcomes, ()
    most, members = max(groups, key=lambda group: len(group[1]))
    others = [group for group in groups if group[1] is not members]
    apart = {outcome.folder for _, group in others for outcome in group}
    remarks = []
    if apart:
        names = sorted({name for modules, _ in others for name in _differing(most, modules)})
        what = ", ".join(names) if names else UNKNOWN
        remarks.append(
            f"Left out: {len(apart)} trials of other code than the rest, from which it differs in {what}; "
            "ablate --retry changed runs them again."
        )
    if accepted := sorted({name for each in members if each.code for name in each.code.accepted}):
        count = sum(bool(each.code and each.code.accepted) for each in members)
        remarks.append(
            f"Of {count} of the trials the code was another, in {', '.join(accepted)}: they were kept on request "
            "(--accept_code_change), so differences may be those of the code."
        )
    return [outcome for outcome in outcomes if outcome.folder not in apart], tuple(remarks)


def _differing(one: dict[str, str], other: dict[str, str]) -> list[str]:
    """Return the modules that both have and that differ."""
    return [name for name in one.keys() & other.keys() if one[name] != other[name]]
