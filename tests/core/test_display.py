"""How notebooks show jobs and statuses."""

from __future__ import annotations

import pickle
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import aiomig
from aiomig import CommandResult, JobResult, JobState, JobStatus, MigError, notebook
from tests.virtual import world

if TYPE_CHECKING:
    from pathlib import Path

AT = datetime(2026, 11, 23, 12, 30, 59, 999, tzinfo=UTC)
STATUS = JobStatus("7_<b>", JobState.FINISHED, "FINISHED", queued_at=AT, finished_at=AT, resource='"r" & s')
NASTY = "<script>alert(1)</script>&amp;'\""


class Tables(HTMLParser):
    """The cells of the tables in a page, and all of its tags."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.tags: set[str] = set()
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attributes: Any) -> None:
        self.tags.add(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_data(self, data: str) -> None:
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += data


def shown(value: Any) -> Tables:
    """The HTML of a value in a notebook. It may contain only tables and text."""
    tables = Tables(value._repr_html_())
    assert tables.tags <= {"table", "thead", "tbody", "tr", "th", "td", "div", "pre", "em"}
    return tables


def test_messages_are_printable() -> None:
    odd = "\x1b[2J\x9b\u202e\rx"
    result = JobResult(STATUS, (CommandResult(odd, 3),), b"", odd.encode())
    errors: list[MigError] = [
        aiomig.MigError(odd),
        aiomig.ServerError("ls", [odd, f"a\n{odd}"]),
        aiomig.SubmitRejected([odd]),
        aiomig.ProtocolError("strange", excerpt=odd),
        aiomig.FileNotFound(odd),
        aiomig.PathRefused(odd, odd),
        aiomig.JobFailed(odd, odd),
        aiomig.CommandFailed(odd, command=odd, exit_code=3, status=STATUS, result=result, staging=[odd]),
        aiomig.SpecError([aiomig.Fault(odd, odd, odd, odd)]),
        aiomig.ConfigError(odd, path=odd, line=1),
        aiomig.LocalError(odd, remedy=odd),
        aiomig.ActionRefused(aiomig.Outcome(odd, None, None, odd)),
    ]
    for error in errors:
        for text in (str(error), str(pickle.loads(pickle.dumps(error)))):
            assert text.replace("\n", "").isprintable()
    assert "\n" not in str(aiomig.ServerError("ls", ["one\nforged: two"]))
    assert "\x1b" not in JobStatus("7", JobState.FAILED, odd, resource=odd)._repr_html_()


def test_a_status() -> None:
    head, row = shown(STATUS).rows
    assert head == ["job", "name", "state", "exit code", "queued", "executing", "ended", "attempts", "resource"]
    assert row == ["7_<b>", "", "FINISHED", "", "2026-11-23 12:30:59", "", "2026-11-23 12:30:59", "", '"r" & s']


def test_what_failed_looks_failed() -> None:
    ended = replace(STATUS, name="fit-7", exit_code=0)
    assert shown(ended).rows[1][1:4] == ["fit-7", "FINISHED", "0"]
    assert "color" not in ended._repr_html_()
    assert replace(ended, exit_code=3)._repr_html_().count("color") == 2
    assert replace(STATUS, state=JobState.FAILED)._repr_html_().count("color") == 1


def test_only_an_end_is_called_one() -> None:
    retried = replace(STATUS, state=JobState.QUEUED, failed_at=AT, finished_at=None, attempts=(aiomig.Attempt(),))
    assert shown(retried).rows[1][6:8] == ["", "1"]
    assert shown(replace(retried, state=JobState.FAILED)).rows[1][6] == "2026-11-23 12:30:59"


def test_a_result() -> None:
    result = JobResult(STATUS, (CommandResult(NASTY, 3), CommandResult("true", None)), NASTY.encode(), b"x" * 20_000)
    page = shown(result)
    assert page.rows[2:5] == [["command", "exit code"], [NASTY, "3"], ["true", page.rows[4][1]]]
    assert "the last 10000 of 20000 characters" in result._repr_html_()
    assert result._repr_html_().count("x" * 10_000) == 1
    assert "<script" not in result._repr_html_()


async def test_jobs(tmp_path: Path) -> None:
    async with aiomig.local(tmp_path / "home") as mig:
        job = await mig.submit([f"echo '{NASTY}'", "true"], name="first")
        head, row = shown(job).rows
        assert head == ["job", "name", "commands", "parameter", "mode"]
        assert row == [job.id, "first", f"echo '{NASTY}'\ntrue", "", "local"]
        assert shown(mig.job("<i>")).rows[1][:3] == ["<i>", "", ""]


async def test_what_wait_returns() -> None:
    async with world() as (grid, mig):
        grid.script(lambda job: job.executing().finish())
        jobs = await mig.submit_many(["true", "false"])
        waited = await mig.wait(jobs)
        assert len(shown(waited).rows) == 3
        assert "<div>pending</div><em>none</em>" in waited._repr_html_()


class Shell:
    """The part of IPython that the extension uses."""

    def __init__(self) -> None:
        self.printers: dict[type, Any] = {}
        self.display_formatter = self
        self.formatters = {"text/html": self}

    def for_type(self, kind: type, printer: Any) -> None:
        self.printers[kind] = printer

    def pop(self, kind: type, default: object) -> None:
        self.printers.pop(kind, default)


async def test_own_lists_after_loading_the_extension() -> None:
    shell = Shell()
    notebook.load_ipython_extension(shell)
    assert shell.printers.keys() == {list, tuple, dict}
    show = shell.printers[list]
    assert show([STATUS, STATUS]) == show((STATUS, STATUS)) == show({"7": STATUS, "8": STATUS})
    assert len(Tables(show([STATUS])).rows) == 2
    assert show([]) is show([STATUS, 7]) is show({"a": "b"}) is None
    async with world() as (_, mig):
        jobs = await mig.submit_many(["true", "false"])
        assert [row[0] for row in Tables(show(jobs)).rows[1:]] == [job.id for job in jobs]
        found = await mig.jobs()
        assert [row[0] for row in Tables(show(found)).rows[1:]] == [job.id for job in reversed(jobs)]
        statuses = await mig.statuses(jobs)
        assert [row[:3] for row in Tables(show(statuses)).rows[1:]] == [[job.id, "", "PARSE"] for job in jobs]
        assert show(aiomig.Waited(jobs, [])) == aiomig.Waited(jobs, [])._repr_html_()
    notebook.unload_ipython_extension(shell)
    assert shell.printers == {}
