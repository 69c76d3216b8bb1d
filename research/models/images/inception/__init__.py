"""Inception networks: convolutions of several sizes side by side."""
