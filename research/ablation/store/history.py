"""What was changed of a study once results of it were there, which its report has to say."""

import dataclasses
from collections.abc import Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class History:
    """Of the study in a folder; it is kept in study.json, and nothing of it is ever taken back."""

    seeds: tuple[int, ...] = ()
    """How many seeds it had each time that more were added after results were there, outside any plan of looks."""
    dropped: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """{name of a cell that was taken out: fingerprint of its experiment}."""

    def remarks(self, seeds: int) -> tuple[str, ...]:
        """Return what to know before believing a report of the study, which has so many seeds now."""
        lines = []
        if self.seeds:
            numbers = ", then ".join(map(str, (*self.seeds, seeds)))
            lines.append(
                f"The number of seeds was not fixed beforehand: it was {numbers}, with results known each time. Who "
                "adds seeds until something is significant finds something, so p and verdicts promise less than they "
                "say; --until_resolved plans looks that are corrected for."
            )
        if self.dropped:
            lines.append(
                f"Dropped from the study, shown and counted nowhere: {'; '.join(self.dropped)}. Runs of it stay in "
                "trials/."
            )
        return tuple(lines)


def read_history(content: Mapping[str, Any]) -> History:
    """Return the history that JSON types describe; of earlier versions, which kept none, an empty one."""
    held = content.get("history", {})
    dropped = {str(name): str(fingerprint) for name, fingerprint in held.get("dropped", {}).items()}
    return History(tuple(int(number) for number in held.get("seeds", ())), dropped)
