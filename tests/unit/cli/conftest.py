"""The fixtures of tests/cli."""

from tests.cli.conftest import call, local, spawn, work

__all__ = ["call", "local", "spawn", "work"]
