"""Runs a command in a session on an event loop, and handles interrupts."""

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
from ._messages import translate
from ._output import OutputFailed, say
from ._settings import current

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterator

    from .. import Session
    from ._settings import Settings

_P = ParamSpec("_P")

_REPORT_SECONDS = 10.0
"""How long an interrupted command tries to report the states of its jobs."""

_SIGNAL_CODES = {
    signal.SIGINT: ExitCode.INTERRUPTED,
    signal.SIGTERM: ExitCode.TERMINATED,
    signal.SIGHUP: ExitCode.HANGUP,
}


def in_session(
    function: Callable[Concatenate[Session, _P], Awaitable[int | None]],
) -> Callable[_P, None]:
    """Wrap an async function so that it runs in an open session.

    An interrupt cancels the function and closes the session normally, so local jobs keep running unless the settings
    say otherwise. A second interrupt ends the command at once.

    Args:
        function: takes the session and the arguments of the command; may return an exit code.
    """

    @functools.wraps(function)
    def run(*arguments: _P.args, **options: _P.kwargs) -> None:
        settings = current()

        def work(session: Session) -> Awaitable[int | None]:
            return function(session, *arguments, **options)

        code = run_async(lambda: run_in_session(settings, work), settings)
        click.get_current_context().exit(code)

    return run


def run_async(function: Callable[[], Coroutine[Any, Any, int]], settings: Settings) -> int:
    """Run an async function on a new event loop, with log lines on standard error."""
    with _logging(settings):
        return anyio.run(function)


async def run_in_session(settings: Settings, work: Callable[[Session], Awaitable[int | None]]) -> int:
    """Run a function in an open session, and return the exit code. See `in_session` for interrupts."""
    return await _SessionRun(settings, work).run()


class _SessionRun:
    """A run of a command in a session. The first signal cancels the work, the second one the whole run."""

    def __init__(self, settings: Settings, work: Callable[[Session], Awaitable[int | None]]) -> None:
        self._settings = settings
        self._work = work
        self._received: signal.Signals | None = None
        self._run_scope = anyio.CancelScope()
        self._first_scope = self._run_scope  # the scope that the first signal cancels

    async def run(self) -> int:
        failure: Exception | None = None
        code: int | None = None
        async with anyio.create_task_group() as group:
            await group.start(self._handle_signals)
            try:
                with self._run_scope:
                    code = await self._run_work()
            except Exception as error:  # noqa: BLE001 - raised below, outside the task group
                failure = error
            group.cancel_scope.cancel()
        if failure is not None:
            raise failure
        return _SIGNAL_CODES[self._received] if self._received is not None else code or ExitCode.SUCCESS

    async def _handle_signals(self, *, task_status: anyio.abc.TaskStatus[None]) -> None:
        # Under nohup, the command outlives its terminal.
        ignored = {signal.SIGHUP} if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else set()
        with anyio.open_signal_receiver(*(_SIGNAL_CODES.keys() - ignored)) as signals:
            task_status.started()
            async for number in signals:
                scope = self._first_scope if self._received is None else self._run_scope
                self._received = signal.Signals(number)
                scope.cancel()

    async def _run_work(self) -> int | None:
        code: int | None = None
        failure: OutputFailed | None = None
        async with self._settings.session() as session:
            with anyio.CancelScope() as self._first_scope:
                try:
                    code = await self._work(session)
                except OutputFailed as error:
                    failure = error  # raised below, because an error inside the session would cancel its jobs
            self._first_scope = self._run_scope
            if self._received is not None:
                await self._report_jobs(session)
        if failure is not None:
            raise failure
        return code

    async def _report_jobs(self, session: Session) -> None:
        """Report which jobs still run and where, after an interrupt."""
        with anyio.move_on_after(_REPORT_SECONDS):
            if self._settings.on_interrupt == "cancel" and self._settings.jobs:
                await session.cancel(self._settings.jobs)
            statuses = await session.statuses(self._settings.jobs) if self._settings.jobs else {}
            unfinished = [job_id for job_id, status in statuses.items() if not status.state.is_final]
            say(_interrupt_message(self._settings, session.mode, unfinished, len(statuses)))
            return
        say("interrupted; the grid does not respond, so the states of the jobs are unknown")


def _interrupt_message(settings: Settings, mode: str, unfinished: list[str], total: int) -> str:
    if not unfinished:
        return "interrupted; its jobs were canceled" if total and settings.on_interrupt == "cancel" else "interrupted"
    place = "on the grid" if mode == "grid" else "on this machine"
    first, count = unfinished[0], len(unfinished)
    ids = " ".join(unfinished[:3]) + (f" and {count - 3} more" if count > 3 else "")
    jobs = f"{count} jobs are still waiting or running" if count > 1 else "a job is still waiting or running"
    program = f"aiomig {settings.switches}"
    return f"interrupted; {jobs} {place}: {ids}; see {program}wait {first}, or stop it: {program}cancel {first}"


class _Formatter(logging.Formatter):
    """Escapes control characters, because log lines contain text of servers and jobs."""

    def format(self, record: logging.LogRecord) -> str:
        return translate(printable(super().format(record), keep="\n\t"))


_MISSING_OUTPUT = re.compile(r": staging: (?:output |\d+ of the outputs)")
"""Matches log messages about missing outputs."""


@contextmanager
def _logging(settings: Settings) -> Iterator[None]:
    """Write aiomig's log records to standard error, at the level that the settings ask for."""
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
    old_level = logger.level
    logger.setLevel(level)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(old_level)
