"""Experiments: one short module each, run with ``python -m experiments.NAME``."""
