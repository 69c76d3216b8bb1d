"""Strategies that decide while a study runs what to run next."""
