"""Where programs run."""

from research.devices.agreement import agreed, ask_to_stop, barrier, is_main_process, joined, stop_agreed, whole
from research.devices.discovery import Processes
from research.devices.joining import join, leave
from research.devices.keeping import keep_programs_and_memory
from research.devices.layout import ONE_DEVICE, Layout, first_replica, lay_out, replicated
from research.devices.placement import SweepMode, compile_for, compile_replicas, compile_together, replicate

__all__ = [
    "ONE_DEVICE",
    "Layout",
    "Processes",
    "SweepMode",
    "agreed",
    "ask_to_stop",
    "barrier",
    "compile_for",
    "compile_replicas",
    "compile_together",
    "first_replica",
    "is_main_process",
    "join",
    "joined",
    "keep_programs_and_memory",
    "lay_out",
    "leave",
    "replicate",
    "replicated",
    "stop_agreed",
    "whole",
]
