"""Whether what a caller gave is what the signature says: for callers without a type checker."""

from __future__ import annotations


def is_count(value: object) -> bool:
    """A whole number of at least 1; True is none."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def is_text(value: object) -> bool:
    """Text that is not blank."""
    return isinstance(value, str) and bool(value.strip())
