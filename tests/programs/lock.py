"""Holds the lock of a home's database until a line comes: ``lock.py HOME``. Prints ``locked`` once it has the lock."""

from __future__ import annotations

import os
import sqlite3
import sys
from pathlib import Path


def main(home: str) -> None:
    database = sqlite3.connect(Path(home) / ".aiomig" / "jobs.sqlite", isolation_level=None, timeout=60)
    database.execute("BEGIN IMMEDIATE")
    os.write(1, b"locked\n")
    sys.stdin.readline()
    database.execute("ROLLBACK")


if __name__ == "__main__":
    main(sys.argv[1])
