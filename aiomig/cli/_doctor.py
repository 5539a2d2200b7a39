"""The command ``doctor``: checks everything that jobs need, and suggests remedies."""

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
from ._running import run_async, run_in_session
from ._settings import Settings, current

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .. import Session

_MIN_FREE_BYTES = 1 << 30
_ALLOWED_SKEW = 60.0
"""The largest accepted difference of two clocks in seconds."""

_STYLES = {"ok": "green", "warning": "yellow", "FAILED": "bold red"}


class Finding(NamedTuple):
    """The result of one check.

    Attributes:
        check: the name of the check.
        outcome: the result.
        detail: the facts, or the problem and a remedy.
    """

    check: str
    outcome: Literal["ok", "warning", "FAILED"]
    detail: str


class Report:
    """Writes each finding at once, and remembers it."""

    def __init__(self, settings: Settings) -> None:
        self.findings: list[Finding] = []
        self._json = settings.json
        self._console = None if settings.json else terminal()

    def add(self, check: str, detail: str, outcome: Literal["ok", "warning", "FAILED"] = "ok") -> None:
        """Add and write a finding."""
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
        """Add a failure. The messages of aiomig's exceptions contain remedies."""
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
    help="How long to wait for the job.",
)
def doctor(no_job: bool, patience: int) -> None:
    """Check everything that jobs need, and suggest remedies for problems. Exits with 1 if a check fails.

    On a grid it checks the configuration, certificate, key, network, TLS, account, clocks, site and home, and runs a
    small job. In local mode it checks the home and runs the job.
    """
    settings = current()
    report = Report(settings)
    report.add("python", f"{sys.version.split()[0]}, {sys.platform}")
    click.get_current_context().exit(run_async(lambda: _examine(settings, report, no_job, patience), settings))


async def _examine(settings: Settings, report: Report, no_job: bool, patience: int) -> int:
    try:
        settings.mode = settings.session().mode  # choose and log the mode only once
        if settings.mode == "grid":
            await _check_prerequisites(Config.load(settings.config), report)
        if report.ok:
            return await _check_session(settings, report, no_job, patience)
    except MigError as error:
        report.fail("configuration" if len(report.findings) == 1 else "session", error)
    return ExitCode.SUCCESS if report.ok else ExitCode.FAILURE


# -- without a session


async def _check_prerequisites(config: Config, report: Report) -> None:
    """Check what a session needs. Stop at the first failure."""
    report.add("configuration", f"{current().config or Config.find()}: {config.url}")
    for check in (_check_certificate, _check_key, _check_network):
        await check(config, report)
        if not report.ok:
            break


async def _check_certificate(config: Config, report: Report) -> None:
    try:
        credential = config.credential()
        credential.check()
    except MigError as error:
        report.fail("certificate", error)
        return
    soon = credential.expires_soon(config.expiry_warning_days)
    validity = f"valid until {local_time(credential.not_after)}, {credential.days_left:.0f} days"
    remedy = "; renew it soon on the web pages of the site" if soon else ""
    report.add("certificate", f"{credential.subject}, {validity}{remedy}", "warning" if soon else "ok")
    passphrase = "has a passphrase" if credential.key_encrypted else "has no passphrase"
    if config.key.stat().st_mode & 0o077:
        report.add("key", f"{config.key} {passphrase}; others can read it; run: chmod 600 {config.key}", "warning")
    else:
        report.add("key", f"{config.key} {passphrase}, only you can read it")


async def _check_key(config: Config, report: Report) -> None:
    if config.password is None and sys.stdin.isatty() and config.credential().key_encrypted:
        return  # the session will ask for the passphrase; do not ask twice
    try:
        config.ssl_context()
    except MigError as error:
        report.fail("key", error)


async def _check_network(config: Config, report: Report) -> None:
    parts = urlsplit(config.url)
    host, port = parts.hostname or "", parts.port or 443
    try:
        with anyio.fail_after(config.connect_timeout):
            async with await anyio.connect_tcp(host, port):
                report.add("network", f"{host}, port {port} is reachable")
    except (OSError, TimeoutError) as error:
        reason = str(error) or f"no answer in {config.connect_timeout:g} s"
        report.add("network", f"{host}, port {port}: {reason}; check migserver, the network and firewalls", "FAILED")
        return
    try:
        # This checks only the server's certificate. The session sends the user's, which may need a passphrase.
        trust = ssl.create_default_context(cafile=config.ca) if config.ca is not None else ssl.create_default_context()
        with anyio.fail_after(config.connect_timeout):
            async with await anyio.connect_tcp(host, port, ssl_context=trust, tls_standard_compatible=False):
                report.add("TLS", "the server's certificate is trusted")
    except ssl.SSLCertVerificationError as error:
        remedy = "set cacertfile to the CA certificate of the site, or correct migserver"
        report.add("TLS", f"the server's certificate is not trusted: {error.verify_message}; {remedy}", "FAILED")
    except (OSError, TimeoutError, anyio.BrokenResourceError, anyio.EndOfStream) as error:
        # A server may abort the handshake because it requires the user's certificate. The session will find out.
        report.add("TLS", f"not checked: {str(error) or type(error).__name__}", "warning")


# -- with a session


async def _check_session(settings: Settings, report: Report, no_job: bool, patience: int) -> int:
    async def work(mig: Session) -> int:
        credential = mig.credential
        report.add("session", f"open as {credential.user}" if credential else "open in local mode, on this machine")
        checks = {"jobs": _check_jobs, "site": _check_site, "home": _check_home}
        if mig.mode == "local":
            checks["disk"] = _check_disk
        for name, check in checks.items():
            await _try(name, check, mig, report)
        if not no_job:
            with anyio.move_on_after(patience) as timeout:
                await _try("job", _check_job, mig, report)
            if timeout.cancelled_caught:
                await mig.cancel(settings.jobs)
                report.add("job", f"did not end in {patience} s and was canceled; the site may be busy", "warning")
        return ExitCode.SUCCESS if report.ok else ExitCode.FAILURE

    return await run_in_session(settings, work)


async def _try(name: str, check: Callable[[Session, Report], Awaitable[None]], mig: Session, report: Report) -> None:
    try:
        await check(mig, report)
    except MigError as error:
        report.fail(name, error)


async def _check_jobs(mig: Session, report: Report) -> None:
    jobs = await mig.jobs(newest=100)
    statuses = (await mig.statuses(jobs)).values() if jobs else ()
    unfinished = sum(not status.state.is_final for status in statuses)
    report.add("jobs", f"{len(jobs) if len(jobs) < 100 else 'at least 100'} in the list, {unfinished} unfinished")
    if lost := await mig.unconfirmed():
        markers = ", ".join(submit.marker for submit in lost[:3])
        report.add("submits", f"{len(lost)} with unknown outcome ({markers}); see aiomig unconfirmed", "warning")


async def _check_site(mig: Session, report: Report) -> None:
    check = await mig.check("true")
    offers = "; ".join(f"{keyword} {', '.join(values) or 'none'}" for keyword, values in check.offers.items())
    if check.faults:
        report.add("site", "; ".join(map(str, check.faults)), "FAILED")
    else:
        report.add("site", f"accepts a simple job{offers and ': '}{offers[:300]}")


async def _check_home(mig: Session, report: Report) -> None:
    """Write, read and remove a file, and use its time to compare the clocks."""
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
        report.add("home", "the content of a file changed; tell the site's administrators", "FAILED")
        return
    report.add("home", "a file was written, read and removed")
    if mig.mode == "grid" and written_at is not None:
        # The server's times are whole seconds.
        skew = max((written_at - ended).total_seconds(), 0.0) or min((written_at - began).total_seconds() + 1.0, 0.0)
        _report_clock(skew, report)


async def _check_disk(mig: Session, report: Report) -> None:
    """Report the home of local mode, and the used and free space."""
    settings = current()
    fields = {"home": settings.home or os.environ.get("AIOMIG_HOME"), "slots": settings.slots}
    local = LocalSettings(**{name: value for name, value in fields.items() if value})  # type: ignore[arg-type]
    used, free = await mig.files.disk_usage("."), shutil.disk_usage(local.home).free
    detail = f"{local.home}: {size(used)} used, {size(free)} free; {local.slots} jobs run at once"
    report.add("disk", detail, "ok" if free >= _MIN_FREE_BYTES else "warning")


def _report_clock(skew: float, report: Report) -> None:
    if abs(skew) < _ALLOWED_SKEW:
        report.add("clock", "the clocks of this machine and the server agree")
        return
    direction = "ahead of" if skew > 0 else "behind"
    remedy = "correct the wrong clock, for example with NTP"
    report.add("clock", f"the server's is {duration(abs(skew))} {direction} this machine's; {remedy}", "warning")


async def _check_job(mig: Session, report: Report) -> None:
    """Run a job to its end and check its output."""
    job = await mig.submit("echo hello", name="aiomig-doctor")
    current().jobs.append(job.id)
    result = await job.result(check=False)
    status = result.status
    if result.ok and result.stdout == "hello\n":
        waited = (status.executing_at - status.received_at) if status.executing_at and status.received_at else None
        delay = f" after {duration(waited.total_seconds())}" if waited is not None else ""
        report.add("job", f"{job.id} began{delay} and said hello")
    elif status.state is JobState.FINISHED:
        report.add(
            "job", f"{job.id} ended with wrong output {result.stdout!r}; tell the site's administrators", "FAILED"
        )
    else:
        reasons = ", ".join(attempt.reason for attempt in status.attempts)
        report.add("job", f"{job.id} is {status.state} {reasons}; tell the site's administrators", "FAILED")
    await job.clean(results=True)
