"""Searches all output of the suite for the user's key and its password.

Each time a session reads a key, its password and the lines of its body become secrets. From then on, the logs of that
test are captured at DEBUG and searched. The messages of errors and warnings, the reports of pytest, and the arguments
and environments of new processes are searched too.
"""

from __future__ import annotations

import logging
import sys
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import aiomig

if TYPE_CHECKING:
    from collections.abc import Iterator

LOGGERS = ("aiomig", "httpx", "httpcore")
_SHORTEST = 8
"""The shortest secret, in characters. Shorter text may appear by chance."""

_STARTING = frozenset({"subprocess.Popen", "os.posix_spawn", "os.exec", "os.system", "os.spawn"})


class Secrets(logging.Handler):
    """The secrets, and where they appeared."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.words: set[str] = set()
        self.leaks: list[str] = []
        self.searched = 0

    def learn(self, config: aiomig.Config) -> None:
        """Add the password of a key, and its body."""
        if isinstance(config.password, str) and len(config.password) >= _SHORTEST:
            self.words.add(config.password)
        for path in filter(Path.is_file, {config.key, config.certificate}):
            try:
                text = path.read_text("ascii")
            except (OSError, ValueError):
                continue
            self.words |= {line for line in text.splitlines() if len(line) >= 32 and "-" not in line}

    def search(self, where: str, *values: object) -> None:
        """Record a leak if the values hold a secret."""
        text = " ".join(map(str, values))
        self.searched += 1
        if any(word in text for word in self.words):
            self.leaks.append(f"{where} holds a key or its password: {text[:500]}")

    def emit(self, record: logging.LogRecord) -> None:
        """Search a log record and its fields."""
        self.search(f"the log {record.name}", record.getMessage(), record.__dict__, record.exc_info or "")


SECRETS = Secrets()


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if event in _STARTING:
        SECRETS.search(event, *arguments)


@pytest.fixture(autouse=True, scope="session")
def _everything_is_searched() -> Iterator[None]:
    read, make = aiomig.Config.ssl_context, aiomig.MigError.__init__

    @wraps(read)
    def ssl_context(config: aiomig.Config) -> Any:
        SECRETS.learn(config)
        for name in LOGGERS:
            logging.getLogger(name).setLevel(logging.DEBUG)
        return read(config)

    @wraps(make)
    def init(error: aiomig.MigError, *arguments: Any, **named: Any) -> None:
        make(error, *arguments, **named)
        if SECRETS.words:
            SECRETS.search(type(error).__name__, *arguments, error)

    sys.addaudithook(_audit)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(aiomig.Config, "ssl_context", ssl_context)
        patch.setattr(aiomig.MigError, "__init__", init)
        for name in LOGGERS:
            logging.getLogger(name).addHandler(SECRETS)
        yield
    for name in LOGGERS:
        logging.getLogger(name).removeHandler(SECRETS)


@pytest.fixture(autouse=True)
def _no_secret_is_told(_everything_is_searched: None) -> Iterator[None]:
    yield
    for name in LOGGERS:
        logging.getLogger(name).setLevel(logging.NOTSET)
    SECRETS.words.clear()
    leaks, SECRETS.leaks = SECRETS.leaks, []
    assert not leaks, leaks


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Search pytest's report of a test: its failure and its output."""
    SECRETS.search(f"the report of {report.nodeid}", report.longreprtext, *report.sections)


def pytest_warning_recorded(warning_message: Any, nodeid: str) -> None:
    """Search a warning."""
    SECRETS.search(f"a warning in {nodeid}", warning_message)
