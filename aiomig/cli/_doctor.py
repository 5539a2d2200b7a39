"""The command ``doctor``: checks everything that jobs need, and says what to do."""

from __future__ import annotations

import os
import secrets
import shutil
import ssl
import sys
from typing import TYPE_CHECKING, Literal, NamedTuple
from urllib.parse import urlsplit

import anyio
import click

from .. import Config, JobState, MigError
from .._core.display import printable
from .._local.settings import LocalSettings
from ._command import command
from ._exit_codes import ExitCode, sentence
from ._output import duration, local_time, size, terminal, write, write_json
from ._running import attended, run_async
from ._settings import Settings, current

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .. import Session

_LITTLE_ROOM = 1 << 30
_ALLOWED_SKEW = 60.0
"""How far two clocks may differ, in seconds."""

_STYLES = {"ok": "green", "warning": "yellow", "FAILED": "bold red"}


class Finding(NamedTuple):
    """The result of one check.

    Attributes:
        check: what was checked.
        outcome: whether it works.
        detail: the facts, or what is wrong and what to do.
    """

    check: str
    outcome: Literal["ok", "warning", "FAILED"]
    detail: str


class Report:
    """The findings, each written at once."""

    def __init__(self, settings: Settings) -> None:
        self.findings: list[Finding] = []
        self._json = settings.json
        self._console = None if settings.json else terminal()

    def add(self, check: str, detail: str, outcome: Literal["ok", "warning", "FAILED"] = "ok") -> None:
        """Write a finding."""
        finding = Finding(check, outcome, detail)
        self.findings.append(finding)
        if self._json:
            write_json(finding._asdict())
        elif self._console is not None:
            self._console.print(f"{outcome:<8}", style=_STYLES[outcome], end="")
            self._console.print(printable(f"{check:<14} {detail}"), soft_wrap=True)
        else:
            write(f"{outcome:<8}{check:<14} {detail}")

    def fail(self, check: str, error: Exception) -> None:
        """Write an error; errors of aiomig say what to do."""
        self.add(check, sentence(error), "FAILED")

    @property
    def ok(self) -> bool:
        """Whether no check has failed so far."""
        return not any(finding.outcome == "FAILED" for finding in self.findings)


@command("doctor")
@click.option("--no-job", is_flag=True, help="Do not run a job.")
@click.option(
    "--patience",
    type=click.IntRange(1),
    default=300,
    show_default=True,
    metavar="SECONDS",
    help="How long a job may take.",
)
def doctor(no_job: bool, patience: int) -> None:
    """Check everything that jobs need, and say what to do about problems. Exits with 1 if a check fails.

    On a grid it checks the configuration, certificate, key, network, TLS, account, clocks, the offers of the site, the
    home, and runs a job that says hello. In local mode it checks the home and runs the job.
    """
    settings = current()
    report = Report(settings)
    report.add("python", f"{sys.version.split()[0]}, {sys.platform}")
    click.get_current_context().exit(run_async(lambda: _examine(settings, report, no_job, patience), settings))


async def _examine(settings: Settings, report: Report, no_job: bool, patience: int) -> int:
    try:
        settings.mode = settings.session().mode  # so that the choice is made, and logged, once
        if settings.mode == "grid":
            await _look_before(Config.load(settings.config), report)
        if report.ok:
            return await _look_inside(settings, report, no_job, patience)
    except MigError as error:
        report.fail("configuration" if len(report.findings) == 1 else "session", error)
    return ExitCode.WELL if report.ok else ExitCode.NOT_WELL


# -- before a session is open


async def _look_before(config: Config, report: Report) -> None:
    """Check what a session needs, until a check fails."""
    report.add("configuration", f"{current().config or Config.find()}: {config.url}")
    for check in (_certificate, _key, _network):
        await check(config, report)
        if not report.ok:
            break


async def _certificate(config: Config, report: Report) -> None:
    try:
        credential = config.credential()
        credential.check()
    except MigError as error:
        report.fail("certificate", error)
        return
    soon = credential.expires_soon(config.expiry_warning_days)
    until = f"valid until {local_time(credential.not_after)}, {credential.days_left:.0f} days"
    remedy = "; renew it soon on the pages of the site" if soon else ""
    report.add("certificate", f"{credential.subject}, {until}{remedy}", "warning" if soon else "ok")
    encrypted = "has a passphrase" if credential.key_encrypted else "has no passphrase"
    if config.key.stat().st_mode & 0o077:
        report.add("key", f"{config.key} {encrypted}; others can read it: chmod 600 {config.key}", "warning")
    else:
        report.add("key", f"{config.key} {encrypted}, only you can read it")


async def _key(config: Config, report: Report) -> None:
    if config.password is None and sys.stdin.isatty() and config.credential().key_encrypted:
        return  # the session asks for the passphrase, once
    try:
        config.ssl_context()
    except MigError as error:
        report.fail("key", error)


async def _network(config: Config, report: Report) -> None:
    parts = urlsplit(config.url)
    host, port = parts.hostname or "", parts.port or 443
    try:
        with anyio.fail_after(config.connect_timeout):
            async with await anyio.connect_tcp(host, port):
                report.add("network", f"{host}, port {port}, answers")
    except (OSError, TimeoutError) as error:
        reason = str(error) or f"no answer in {config.connect_timeout:g} s"
        report.add("network", f"{host}, port {port}: {reason}; check migserver, the network and firewalls", "FAILED")
        return
    try:
        # This checks the server's certificate only. The session sends the user's, which may need a passphrase.
        trust = ssl.create_default_context(cafile=config.ca) if config.ca is not None else ssl.create_default_context()
        with anyio.fail_after(config.connect_timeout):
            async with await anyio.connect_tcp(host, port, ssl_context=trust, tls_standard_compatible=False):
                report.add("TLS", "the server's certificate is good")
    except ssl.SSLCertVerificationError as error:
        remedy = "set cacertfile to the CA certificate of the site, or correct migserver"
        report.add("TLS", f"the server's certificate is not trusted: {error.verify_message}; {remedy}", "FAILED")
    except (OSError, TimeoutError, anyio.BrokenResourceError, anyio.EndOfStream) as error:
        # A server may end the handshake because it wants the user's certificate first; the session finds out.
        report.add("TLS", f"not checked: {str(error) or type(error).__name__}", "warning")


# -- in a session


async def _look_inside(settings: Settings, report: Report, no_job: bool, patience: int) -> int:
    async def look(mig: Session) -> int:
        report.add("session", _who(mig))
        await _guarded("jobs", _lists_jobs, mig, report)
        await _guarded("site", _offers, mig, report)
        await _guarded("home", _writes, mig, report)
        if mig.mode == "local":
            await _guarded("room", _has_room, mig, report)
        if not no_job:
            with anyio.move_on_after(patience) as patient:
                await _guarded("job", _says_hello, mig, report)
            if patient.cancelled_caught:
                await mig.cancel(settings.jobs)
                report.add("job", f"did not end in {patience} s, and was canceled; the site may be busy", "warning")
        return ExitCode.WELL if report.ok else ExitCode.NOT_WELL

    return await attended(settings, look)


async def _guarded(
    name: str, check: Callable[[Session, Report], Awaitable[None]], mig: Session, report: Report
) -> None:
    try:
        await check(mig, report)
    except MigError as error:
        report.fail(name, error)


def _who(mig: Session) -> str:
    credential = mig.credential
    return f"open as {credential.user}" if credential is not None else "open in local mode, on this machine"


async def _lists_jobs(mig: Session, report: Report) -> None:
    jobs = await mig.jobs(newest=100)
    statuses = (await mig.statuses(jobs)).values() if jobs else ()
    unfinished = sum(not status.state.is_final for status in statuses)
    report.add("jobs", f"{len(jobs) if len(jobs) < 100 else 'at least 100'} in the list, {unfinished} have not ended")
    if lost := await mig.unconfirmed():
        names = ", ".join(submit.marker for submit in lost[:3])
        report.add("submits", f"{len(lost)} of unknown outcome ({names}); see aiomig unconfirmed", "warning")


async def _offers(mig: Session, report: Report) -> None:
    check = await mig.check("true")
    offers = "; ".join(f"{keyword} {', '.join(values) or 'none'}" for keyword, values in check.offers.items())
    if check.faults:
        report.add("site", "; ".join(map(str, check.faults)), "FAILED")
    else:
        report.add("site", f"takes a plain job{offers and ': '}{offers[:300]}")


async def _writes(mig: Session, report: Report) -> None:
    """Write, read and remove a file, and compare the clocks by its time."""
    from datetime import UTC, datetime

    path = f"aiomig-doctor-{secrets.token_hex(6)}.txt"
    began = datetime.now(UTC)
    await mig.files.write_text(path, "written by aiomig doctor\n")
    ended = datetime.now(UTC)
    try:
        text = await mig.files.read_text(path)
        written_at = (await mig.files.stat(path)).modified_at
    finally:
        await mig.files.remove(path, missing_ok=True)
    if text != "written by aiomig doctor\n":
        report.add("home", "a file comes back changed; tell the site's administrators", "FAILED")
        return
    report.add("home", "a file was written, read and removed")
    if mig.mode == "grid" and written_at is not None:
        # Its times are whole seconds.
        skew = max((written_at - ended).total_seconds(), 0.0) or min((written_at - began).total_seconds() + 1.0, 0.0)
        _report_clock(skew, report)


async def _has_room(mig: Session, report: Report) -> None:
    """Report the home of local mode, what it uses, and what is free."""
    settings = current()
    fields = {"home": settings.home or os.environ.get("AIOMIG_HOME"), "slots": settings.slots}
    local = LocalSettings(**{name: value for name, value in fields.items() if value})  # type: ignore[arg-type]
    used, free = await mig.files.disk_usage("."), shutil.disk_usage(local.home).free
    detail = f"{local.home}: {size(used)} used, {size(free)} free; {local.slots} jobs run at once"
    report.add("room", detail, "ok" if free >= _LITTLE_ROOM else "warning")


def _report_clock(skew: float, report: Report) -> None:
    if abs(skew) < _ALLOWED_SKEW:
        report.add("clock", "this machine's and the server's agree")
        return
    direction = "ahead of" if skew > 0 else "behind"
    remedy = "set the clock that is wrong (NTP does)"
    report.add("clock", f"the server's is {duration(abs(skew))} {direction} this machine's; {remedy}", "warning")


async def _says_hello(mig: Session, report: Report) -> None:
    """Run a job to its end, and check its output."""
    job = await mig.submit("echo hello", name="aiomig-doctor")
    current().jobs.append(job.id)
    result = await job.result(check=False)
    status = result.status
    if result.ok and result.stdout == "hello\n":
        waited = (status.executing_at - status.received_at) if status.executing_at and status.received_at else None
        seconds = f" after {duration(waited.total_seconds())}" if waited is not None else ""
        report.add("job", f"{job.id} began{seconds}, and said hello")
    elif status.state is JobState.FINISHED:
        report.add(
            "job", f"{job.id} ended, but its output is {result.stdout!r}; tell the site's administrators", "FAILED"
        )
    else:
        reasons = ", ".join(attempt.reason for attempt in status.attempts)
        report.add("job", f"{job.id} is {status.state} {reasons}; tell the site's administrators", "FAILED")
    await job.clean(results=True)
