"""Control characters from a server, a job or a file never reach a terminal; pipes get every byte."""

from __future__ import annotations

import io
import json
import logging
import sys

import pytest

pytest.importorskip("click")
pytest.importorskip("rich")

from aiomig.cli import _output
from aiomig.cli._doctor import Report
from aiomig.cli._running import _Formatter
from aiomig.cli._settings import Settings

HOSTILE = "\x1b]0;PWNED\x07\x1b[2J\x9b31m\u202e\u2028\x00"
OBEYED = set("\x1b\x07\x9b\u202e\u2028\x00\r")


class Stream(io.TextIOWrapper):
    """A stream in memory that is a terminal, or is not."""

    def __init__(self, *, terminal: bool) -> None:
        super().__init__(io.BytesIO(), "utf-8")
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal

    @property
    def text(self) -> str:
        self.flush()
        content: bytes = self.buffer.getvalue()  # type: ignore[attr-defined]
        return content.decode("utf-8", "surrogateescape")


def streams(monkeypatch: pytest.MonkeyPatch, *, terminal: bool) -> tuple[Stream, Stream]:
    """Replace standard output and standard error."""
    stdout, stderr = Stream(terminal=terminal), Stream(terminal=terminal)
    monkeypatch.setattr(sys, "stdout", stdout)
    monkeypatch.setattr(sys, "stderr", stderr)
    return stdout, stderr


TERMINAL = pytest.mark.parametrize("terminal", [True, False], ids=["terminal", "pipe"])


@TERMINAL
def test_text_and_bytes(monkeypatch: pytest.MonkeyPatch, terminal: bool) -> None:
    stdout, stderr = streams(monkeypatch, terminal=terminal)
    _output.write(f"a\tb{HOSTILE}")
    _output.write(f"a\tb{HOSTILE}", content=True)
    _output.write_bytes(f"a\tb\r\n{HOSTILE}\n".encode() + b"\xff\n")
    _output.write_bytes(f"{HOSTILE}\n".encode(), to_stderr=True)
    if stdout.isatty():
        assert not OBEYED & set(stdout.text + stderr.text)
        assert stdout.text.count("a\tb") == 3
        assert "\\xff\n" in stdout.text
    else:
        assert (
            stdout.text.encode("utf-8", "surrogateescape")
            == (f"a\tb{HOSTILE}\n" * 2 + f"a\tb\r\n{HOSTILE}\n").encode() + b"\xff\n"
        )


@TERMINAL
def test_messages_and_json_are_always_escaped(monkeypatch: pytest.MonkeyPatch, terminal: bool) -> None:
    stdout, stderr = streams(monkeypatch, terminal=terminal)
    _output.say(f"the server says {HOSTILE}")
    _output.write_json({"words": HOSTILE, "æ": "\U0001f600", "half": "\udc80"})
    assert not OBEYED & set(stdout.text + stderr.text)
    assert json.loads(stdout.text) == {"words": HOSTILE, "æ": "\U0001f600", "half": "\udc80"}
    assert "æ" in stdout.text
    assert "\U0001f600" in stdout.text


@TERMINAL
def test_tables_and_reports(monkeypatch: pytest.MonkeyPatch, terminal: bool) -> None:
    stdout, _ = streams(monkeypatch, terminal=terminal)
    _output.write_table({"A": "left", "B": "right"}, [[HOSTILE, "x"]])
    Report(Settings()).add("job", f"it says {HOSTILE}")
    if stdout.isatty():
        assert "\x1b]0;PWNED" not in stdout.text
        assert "\x1b[2J" not in stdout.text
        assert not (OBEYED - {"\x1b"}) & set(stdout.text), "only colours of aiomig are escape sequences"
        assert "\\x1b]0;PWNED\\x07" in stdout.text


def test_log_lines() -> None:
    record = logging.makeLogRecord(
        {"msg": "refused: %s", "args": (f"{HOSTILE}\nWARNING: forged",), "levelname": "INFO"}
    )
    assert not OBEYED & set(_Formatter("%(levelname)s: %(message)s").format(record))
