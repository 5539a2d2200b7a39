"""Runs a command: its session, the event loop, and interrupts."""

from __future__ import annotations

import functools
import logging
import re
import signal
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec

import anyio
import click

from .._core.display import printable
from ._exit_codes import ExitCode
from ._output import OutputFailed, say
from ._settings import current
from ._words import own_words

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterator

    from .. import Session
    from ._settings import Settings

_P = ParamSpec("_P")

_REPORT_SECONDS = 10.0
"""How long an interrupted command tries to find out what became of its jobs."""

_CODES = {signal.SIGINT: ExitCode.INTERRUPTED, signal.SIGTERM: ExitCode.TERMINATED}


def in_session(
    function: Callable[Concatenate[Session, _P], Awaitable[int | None]],
) -> Callable[_P, None]:
    """Return a function that opens a session and calls another function with it.

    An interrupt cancels the function and leaves the session normally, so that local jobs run on unless the settings say
    otherwise. A second interrupt ends the command at once.

    Args:
        function: gets the session and the arguments of the command; may return an exit code.
    """

    @functools.wraps(function)
    def run(*arguments: _P.args, **options: _P.kwargs) -> None:
        settings = current()

        def work(session: Session) -> Awaitable[int | None]:
            return function(session, *arguments, **options)

        code = run_async(lambda: attended(settings, work), settings)
        click.get_current_context().exit(code)

    return run


def run_async(function: Callable[[], Coroutine[Any, Any, int]], settings: Settings) -> int:
    """Run a function on a new event loop, with log lines on standard error."""
    with _logging(settings):
        return anyio.run(function)


async def attended(settings: Settings, work: Callable[[Session], Awaitable[int | None]]) -> int:
    """Run a function in an open session that signals leave as `in_session` says."""
    return await _Attended(settings, work).run()


class _Attended:
    """One run of a command in a session, with its handling of signals."""

    def __init__(self, settings: Settings, work: Callable[[Session], Awaitable[int | None]]) -> None:
        self._settings = settings
        self._work = work
        self._received: signal.Signals | None = None
        self._whole = anyio.CancelScope()
        self._part = self._whole  # what a signal cancels

    async def run(self) -> int:
        failure: Exception | None = None
        code: int | None = None
        async with anyio.create_task_group() as group:
            await group.start(self._listen)
            try:
                with self._whole:
                    code = await self._in_session()
            except Exception as error:  # noqa: BLE001 - raised below, not as a group
                failure = error
            group.cancel_scope.cancel()
        if failure is not None:
            raise failure
        return _CODES[self._received] if self._received is not None else code or ExitCode.WELL

    async def _listen(self, *, task_status: anyio.abc.TaskStatus[None]) -> None:
        with anyio.open_signal_receiver(*_CODES) as signals:
            task_status.started()
            async for number in signals:
                again, self._received = self._received is not None, signal.Signals(number)
                (self._whole if again else self._part).cancel()

    async def _in_session(self) -> int | None:
        code: int | None = None
        failure: OutputFailed | None = None
        async with self._settings.session() as session:
            with anyio.CancelScope() as self._part:
                try:
                    code = await self._work(session)
                except OutputFailed as error:
                    failure = error  # raised below: the session would cancel its jobs for an error
            self._part = self._whole
            if self._received is not None:
                await self._tell(session)
        if failure is not None:
            raise failure
        return code

    async def _tell(self, session: Session) -> None:
        """Report which jobs still run, and where."""
        with anyio.move_on_after(_REPORT_SECONDS):
            if self._settings.on_interrupt == "cancel" and self._settings.jobs:
                await session.cancel(self._settings.jobs)
            statuses = await session.statuses(self._settings.jobs) if self._settings.jobs else {}
            left = [job_id for job_id, status in statuses.items() if not status.state.is_final]
            say(_farewell(self._settings, session.mode, left, len(statuses)))
            return
        say("interrupted; the grid does not answer, so the states of the jobs are not known")


def _farewell(settings: Settings, mode: str, left: list[str], total: int) -> str:
    if not left:
        return "interrupted; its jobs were canceled" if total and settings.on_interrupt == "cancel" else "interrupted"
    place = "on the grid" if mode == "grid" else "on this machine"
    named = " ".join(left[:3]) + (f" and {len(left) - 3} more" if len(left) > 3 else "")
    jobs = f"{len(left)} jobs still wait or run" if len(left) > 1 else "a job still waits or runs"
    program = f"aiomig {settings.switches}"
    return f"interrupted; {jobs} {place}: {named}; see {program}wait {left[0]}, or end it by {program}cancel {left[0]}"


class _Formatter(logging.Formatter):
    """Writes control characters as escapes, because log lines hold words of servers and jobs."""

    def format(self, record: logging.LogRecord) -> str:
        return own_words(printable(super().format(record), keep="\n\t"))


_MISSING_OUTPUT = re.compile(r": staging: (?:output |\d+ of the outputs)")


@contextmanager
def _logging(settings: Settings) -> Iterator[None]:
    """Write log lines of aiomig on standard error: warnings, or more."""
    level = logging.ERROR if settings.quiet else logging.WARNING
    if settings.debug or settings.verbose:
        level = logging.DEBUG if settings.debug or settings.verbose > 1 else logging.INFO
    logger = logging.getLogger("aiomig")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter("aiomig: %(levelname)s: %(message)s"))
    handler.setLevel(level)
    handler.addFilter(
        lambda record: not (settings.names_missing_outputs and _MISSING_OUTPUT.search(record.getMessage()))
    )
    before = logger.level
    logger.setLevel(level)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)
