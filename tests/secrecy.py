"""Looks for the user's key and its password in everything that the suite says.

Each time a session reads a key to speak TLS with, its password and the lines of its body become words that nobody may
say. From then on the logs of that test are taken down to DEBUG, and searched, and so are the messages of all errors,
warnings, the reports of pytest, and the arguments and environments of the processes that are started.
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
"""Characters of a word; a shorter one might be said by chance."""

_STARTING = frozenset({"subprocess.Popen", "os.posix_spawn", "os.exec", "os.system", "os.spawn"})


class Secrets(logging.Handler):
    """What may not be said, and who said it."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.words: set[str] = set()
        self.leaks: list[str] = []
        self.searched = 0

    def learn(self, config: aiomig.Config) -> None:
        """Takes in the password of a key, and its body."""
        if isinstance(config.password, str) and len(config.password) >= _SHORTEST:
            self.words.add(config.password)
        for path in filter(Path.is_file, {config.key, config.certificate}):
            try:
                text = path.read_text("ascii")
            except (OSError, ValueError):
                continue
            self.words |= {line for line in text.splitlines() if len(line) >= 32 and "-" not in line}

    def search(self, where: str, *said: object) -> None:
        """Notes whoever says one of the words."""
        text = " ".join(map(str, said))
        self.searched += 1
        if any(word in text for word in self.words):
            self.leaks.append(f"{where} holds a key or its password: {text[:500]}")

    def emit(self, record: logging.LogRecord) -> None:
        """Searches a line of the log, and what comes with it."""
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
    """Searches what pytest shows of a test: how it failed, and what it wrote."""
    SECRETS.search(f"the report of {report.nodeid}", report.longreprtext, *report.sections)


def pytest_warning_recorded(warning_message: Any, nodeid: str) -> None:
    """Searches a warning."""
    SECRETS.search(f"a warning in {nodeid}", warning_message)
