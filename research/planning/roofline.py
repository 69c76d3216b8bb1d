"""The least time of a step that arithmetic, memory and links of a chip allow (Williams et al., 2009)."""

import dataclasses

from research.planning.chips import Chip
from research.planning.flops import Work


@dataclasses.dataclass(frozen=True)
class Roofline:
    """Seconds of a step by what it waits for, all of which overlap; None where the chip's figure is unknown."""

    compute: float | None
    memory: float | None
    links: float | None

    @property
    def seconds(self) -> float | None:
        """Seconds of a step; None where arithmetic or memory are not known."""
        if self.compute is None or self.memory is None:
            return None
        return max(self.compute, self.memory, self.links or 0.0)

    @property
    def limit(self) -> str | None:
        """What the step waits for most."""
        known = {field.name: getattr(self, field.name) or 0.0 for field in dataclasses.fields(self)}
        return max(known, key=lambda name: known[name]) if self.seconds is not None else None


def roofline(work: Work, held: int, sent: float, chip: Chip, utilisation: float) -> Roofline:
    """Return the roofline of a step on one device.

    Args:
        work: what each device computes. Its products reach the share `utilisation` of the peak; all other arithmetic
            is taken to be fused with them, and free.
        held: bytes of arguments, which are read once and written once, beside what the products read and write.
        sent: bytes that each device sends, over half of its links, since those are stated for both ways.
        chip: the figures of one device.
    """
    return Roofline(
        _ratio(work.half, chip.bfloat16, utilisation, work.single, chip.float32),
        None if chip.bandwidth is None else (work.traffic + 2 * held) / chip.bandwidth,
        0.0 if not sent else None if chip.links is None else sent / (chip.links / 2),
    )


def _ratio(half: int, bfloat16: float | None, utilisation: float, single: int, float32: float | None) -> float | None:
    """Return the seconds that products of two precisions take."""
    if bfloat16 is None or float32 is None:
        return None
    return (half / bfloat16 + single / float32) / utilisation
