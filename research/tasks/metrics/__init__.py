"""Metrics, from sums over examples."""
