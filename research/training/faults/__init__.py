"""Signals, numbers that are not finite, and faults on purpose."""
