"""Baselines that experiments share. Libraries are imported where they are used, and are the extra `baselines`."""
