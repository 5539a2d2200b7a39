"""The command ``sweep``."""

from __future__ import annotations

import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from ._command import command
from ._describing import describing_options, job_spec
from ._exit_codes import ExitCode, sentence
from ._output import duration, say, terminal, write, write_bytes, write_json
from ._parameters import Parameter, combined, filled, is_name, parse, placeholders, read
from ._settings import current, local_files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .. import Job, JobResult, JobSpec, Session, Sweep

_INTERVAL = 0.2


@command("sweep", options_first=True)
@describing_options
@click.option(
    "--parameter", "-p", "given", multiple=True, metavar="NAME=VALUES", help="1:10, 0:1:0.25 or a,b,c; may be repeated."
)
@click.option(
    "--parameters",
    "-P",
    "file",
    shell_complete=local_files,
    help="A file with a row for each job: .csv .tsv .json .jsonl, or - (JSON lines).",
)
@click.option("--separator", metavar="CHARACTER", help="What separates the columns of a .csv file, if not a comma.")
@click.option("--zip", "side_by_side", is_flag=True, help="Values side by side, instead of all combinations.")
@click.option(
    "--in-flight", type=click.IntRange(1), metavar="N", default=100, show_default=True, help="Number of jobs at once."
)
@click.option(
    "--attempts",
    type=click.IntRange(1),
    metavar="N",
    default=1,
    show_default=True,
    help="How many times to submit a job that fails.",
)
@click.option(
    "--journal",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A file that records the jobs; with it the same command continues.",
)
@click.option("--retry-failed", is_flag=True, help="With --journal: run again what failed in earlier runs.")
@click.option("--fetch-to", type=click.Path(path_type=Path, file_okay=False), help="A folder for the outputs.")
@click.option("--print", "printed", is_flag=True, help="Print what each job wrote, instead of a line about it.")
async def sweep(
    mig: Session,
    /,
    *,
    given: tuple[str, ...],
    file: str | None,
    separator: str | None,
    side_by_side: bool,
    in_flight: int,
    attempts: int,
    journal: Path | None,
    retry_failed: bool,
    fetch_to: Path | None,
    printed: bool,
    **options: Any,
) -> int:
    """Run a job for each of many parameters, some at a time, and report each as it ends.

    {name} stands for a value in commands (there quoted, as one word), and in inputs, outputs, variables and the name;
    {{name}} is the text {name}.

    \b
      aiomig sweep -p seed=1:100 --in-flight 20 -i fit.py 'python3 fit.py --seed {seed}'
      aiomig sweep -P runs.csv -o fit.png:{id}.png --fetch-to plots -i fit.py python3 fit.py {id}

    With --journal the same command continues after a crash or Ctrl-C: a job that ended is not run again, wherever its
    row stands. Ctrl-C cancels the jobs in flight. Exits with 1 if a job did not end well, also in an earlier run.
    """
    if retry_failed and journal is None:
        raise click.UsageError("--retry-failed needs the --journal of the earlier runs")
    parameters = _parameters(given, file, separator, side_by_side=side_by_side)
    make = _template(parameters, [text.partition("=")[0] for text in given], options)
    tally = _Tally(len(parameters), retries_failed=retry_failed)
    again: Literal["failed", "never"] = "failed" if retry_failed else "never"
    sweep = mig.sweep(make, parameters, in_flight=in_flight, retries=attempts - 1, journal=journal, again=again)
    async with sweep as jobs:
        try:
            await _drain(jobs, tally, fetch_to, printed=printed)
        finally:
            tally.report(jobs, journal)
    for parameter, error in jobs.errors:
        say(f"{_named(parameter)}: {sentence(error)}")
    return ExitCode.NOT_WELL if jobs.counts.failed or jobs.errors else ExitCode.WELL


async def _drain(jobs: Sweep, tally: _Tally, fetch_to: Path | None, *, printed: bool) -> None:
    with _progress(tally) as advance:
        async for job in jobs:
            result = await job.result(check=False)
            if fetch_to is not None:
                await job.fetch(fetch_to, check=False)
            tally.count(ok=result.ok)
            advance(jobs.counts.earlier)
            _tell(job, result, printed=printed)


def _parameters(
    given: tuple[str, ...], file: str | None, separator: str | None, *, side_by_side: bool
) -> list[Parameter]:
    if not given and file is None:
        raise click.UsageError("there are no parameters; give -p NAME=1:10, or a file by --parameters")
    rows = combined([parse(text) for text in given], side_by_side=side_by_side) if given else [{}]
    if file is None:
        return rows
    table = read(file, separator)
    if both := sorted(table[0].keys() & rows[0].keys()) if table else []:
        raise click.UsageError(f"the parameter {both[0]!r} is given by -p and by {file}; leave one out")
    return [{**row, **one} for row in table for one in rows]


def _template(parameters: list[Parameter], named: list[str], options: dict[str, Any]) -> Callable[[Parameter], JobSpec]:
    """Return what makes a job of a parameter; make the first now, so that faults come before anything is sent."""
    texts = _texts(options)
    _ensure_named(parameters[:1], texts)
    _ensure_used(parameters, named, placeholders(texts))
    words, lines = options.pop("words"), options.pop("command")

    def make(parameter: Parameter) -> JobSpec:
        # Several words are quoted when they are joined; in a line, values are.
        last = tuple(filled(word, parameter, quoted=len(words) == 1) for word in words)
        before = tuple(filled(line, parameter, quoted=True) for line in lines)
        return job_spec(last, before, **{name: _put(value, parameter) for name, value in options.items()})

    for parameter in parameters[:1]:
        make(parameter)
    return make


def _ensure_named(parameters: list[Parameter], texts: list[str]) -> None:
    """Refuse placeholders for columns whose names cannot be one."""
    for name in (name for row in parameters for name in row if not is_name(name)):
        if any(f"{{{name}}}" in text for text in texts):
            remedy = "rename the column: ASCII letters, digits and _, and no digit first"
            raise click.UsageError(f"{{{name}}} cannot be a placeholder; {remedy}")


def _ensure_used(parameters: list[Parameter], named: list[str], used: set[str]) -> None:
    """Refuse parameters without a placeholder, and placeholders without a parameter."""
    for name in named:
        if name not in used:
            raise click.UsageError(f"the parameter {name!r} is used nowhere; write {{{name}}} where its value belongs")
    for number, row in enumerate(parameters, 1):
        if missing := sorted(used - row.keys()):
            name = missing[0]
            raise click.UsageError(
                f"{{{name}}} names no parameter of job {number}, which has: {', '.join(row) or 'none'}; "
                f"correct the name, or write {{{{{name}}}}} for the text {{{name}}}"
            )
        columns = row.keys() - set(named)
        if columns and not used & columns:
            names = " ".join(f"{{{name}}}" for name in row if name in columns and is_name(name))
            remedy = f"write {names} where the values belong" if names else "rename them: ASCII letters, digits and _"
            raise click.UsageError(f"no column of the file is used; {remedy}")


def _texts(options: dict[str, Any]) -> list[str]:
    values = [value if isinstance(value, tuple) else (value,) for value in options.values()]
    return [text for value in values for text in value if isinstance(text, str)]


def _put(value: Any, parameter: Parameter) -> Any:
    if isinstance(value, tuple):
        return tuple(_put(each, parameter) for each in value)
    return filled(value, parameter) if isinstance(value, str) else value


def _named(parameter: Parameter) -> str:
    return " ".join(f"{name}={value}" for name, value in parameter.items())


def _tell(job: Job, result: JobResult, *, printed: bool) -> None:
    if current().json:
        write_json({"parameter": job.parameter, **result.as_dict()})
    elif printed:
        write_bytes(result.stdout_bytes)
        write_bytes(result.stderr_bytes, to_stderr=True)
    else:
        code = "-" if result.exit_code is None else str(result.exit_code)
        write(f"{_named(job.parameter)}  {result.status.state}  {code}  {job.id}")


class _Tally:
    """How many jobs have ended in this run, and how fast."""

    def __init__(self, total: int, *, retries_failed: bool) -> None:
        self.total = total
        self._retries_failed = retries_failed
        self.ended = 0
        self.ok = 0
        self._began = time.monotonic()

    def count(self, *, ok: bool) -> None:
        """Count a job that has ended."""
        self.ended += 1
        self.ok += ok

    @property
    def rate(self) -> float:
        """Jobs a second."""
        return self.ended / max(time.monotonic() - self._began, 1e-9)

    def report(self, jobs: Sweep, journal: Path | None) -> None:
        """Tell on standard error what came of the jobs, and how an interrupted sweep continues."""
        if current().quiet:
            return
        earlier, failed, errors = jobs.counts.earlier, jobs.counts.failed, len(jobs.errors)
        left = self.total - self.ended - earlier - errors
        words = f"{self.ended + earlier - failed} of {self.total} jobs ended well, {failed} did not"
        words += f", {errors} were not submitted" if errors else ""
        words += f", {left} were not run" if left else ""
        words += f"; {earlier} ended in earlier runs" if earlier else ""
        say(f"{words}; {duration(time.monotonic() - self._began)}")
        if left and journal:
            say(f"to run the other {left}: give the same command again; {journal} knows what has ended")
        elif left:
            say("the same command starts anew; with --journal FILE, it would continue")
        if failed and journal and not self._retries_failed:
            say("to run failures again: add --retry-failed")


@contextmanager
def _progress(tally: _Tally) -> Iterator[Callable[[int], None]]:
    """Show a progress bar with rate and time left if standard error is a terminal."""
    console = None if current().quiet else terminal(stderr=True)
    if console is None:
        yield lambda _: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"), TimeRemainingColumn()
    with Progress(*columns, console=console, auto_refresh=False, transient=True) as progress:
        task = progress.add_task("", total=tally.total, rate="")
        progress.refresh()
        drawn = 0.0

        def advance(earlier: int) -> None:
            nonlocal drawn
            progress.update(task, completed=tally.ended + earlier, rate=f"{tally.rate:.1f} jobs/s")
            if time.monotonic() - drawn >= _INTERVAL or tally.ended + earlier == tally.total:
                progress.refresh()
                drawn = time.monotonic()

        yield advance
