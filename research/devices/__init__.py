"""Where programs run."""

from research.devices.placement import place

__all__ = ["place"]
