"""The file of JSON lines behind the journals: locked, whole lines only, unchanged by a failed write."""

from __future__ import annotations

import json
import os
import stat
from typing import TYPE_CHECKING

import pytest

from aiomig._core.journal import JsonLinesLog

if TYPE_CHECKING:
    from pathlib import Path


def opened(path: Path) -> JsonLinesLog:
    log = JsonLinesLog.open(path)
    assert log is not None
    return log


def test_rows_are_read_back_in_order(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = opened(path)
    log.append([{"a": 1}, {"b": "æ\n"}])
    log.append([{"c": None}], sync=True)
    assert list(log.rows()) == [{"a": 1}, {"b": "æ\n"}, {"c": None}]
    assert log.size == path.stat().st_size
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    log.close()
    log.close()
    assert list(opened(path).rows()) == [{"a": 1}, {"b": "æ\n"}, {"c": None}]


def test_wherever_a_crash_cuts_the_file_the_whole_lines_and_the_next_ones_are_read(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = opened(path)
    log.append([{"row": number} for number in range(3)])
    log.close()
    data = path.read_bytes()
    for size in range(len(data) + 1):
        path.write_bytes(data[:size])
        log = opened(path)
        log.append([{"row": "new"}])
        whole = [json.loads(line) for line in data[:size].splitlines() if line.endswith(b"}")]
        assert list(log.rows()) == [*whole, {"row": "new"}]
        log.close()


@pytest.mark.parametrize("line", [b"", b"7", b"null", b"[]", b"\xff\x00", b"[" * 10_000, b"9" * 5000, b'{"a":'])
def test_lines_that_are_not_objects_are_skipped(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "log"
    path.write_bytes(line + b'\n{"row":1}\n')
    assert list(opened(path).rows()) == [{"row": 1}]


def test_one_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = opened(path)
    assert JsonLinesLog.open(path) is None
    log.close()
    log = opened(path)
    log.remove()
    assert not path.exists()
    with pytest.raises(FileNotFoundError):
        JsonLinesLog.open(path, create=False)


def test_a_failed_write_leaves_the_file_unchanged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write

    def full(descriptor: int, data: bytes) -> int:
        if len(data) > 10:
            return write(descriptor, data[:10])
        raise OSError(28, "No space left on device")

    path = tmp_path / "log"
    log = opened(path)
    log.append([{"row": 1}])
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(OSError, match="No space left"):
            log.append([{"row": 2}])
    assert path.read_bytes() == b'{"row":1}\n'
    log.append([{"row": 3}])
    assert list(log.rows()) == [{"row": 1}, {"row": 3}]
    log.clear()
    assert (log.size, path.read_bytes()) == (0, b"")
