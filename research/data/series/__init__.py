"""Sequences of numbers: series to forecast, and labelled sequences of vectors."""
