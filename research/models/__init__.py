"""Architectures: one file per family."""

from research.models.cnn import CNN

__all__ = ["CNN"]
