"""What a run computes, so that no two programs are taken for one: digests of its code, wherever that comes from."""

from research.training.identity.code import UNKNOWN, Code, accepting, changes, check, differences, read, record

__all__ = ["UNKNOWN", "Code", "accepting", "changes", "check", "differences", "read", "record"]
