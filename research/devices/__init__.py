"""Where programs run."""

from research.devices.agreement import agreed, ask_to_stop, barrier, joined, leads, stop_agreed, whole
from research.devices.discovery import Processes
from research.devices.joining import join, leave
from research.devices.layout import ONE_DEVICE, Layout, first_replica, lay_out, replicated
from research.devices.placement import Together, place, place_replicas, place_together, replicate

__all__ = [
    "ONE_DEVICE",
    "Layout",
    "Processes",
    "Together",
    "agreed",
    "ask_to_stop",
    "barrier",
    "first_replica",
    "join",
    "joined",
    "lay_out",
    "leads",
    "leave",
    "place",
    "place_replicas",
    "place_together",
    "replicate",
    "replicated",
    "stop_agreed",
    "whole",
]
