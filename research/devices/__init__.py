"""Where programs run."""

from research.devices.placement import Together, place, place_together, replicate

__all__ = ["Together", "place", "place_together", "replicate"]
