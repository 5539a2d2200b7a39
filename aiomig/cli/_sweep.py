"""The command ``sweep``: runs a job for each of many parameters."""

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
from ._parameters import Parameter, combine, fill, is_name, parse, placeholders, read
from ._settings import current, local_files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .. import Job, JobResult, JobSpec, Session, Sweep

_INTERVAL = 0.2


@command("sweep", options_first=True)
@describing_options
@click.option(
    "--parameter", "-p", "ranges", multiple=True, metavar="NAME=VALUES", help="1:10, 0:1:0.25 or a,b,c; repeatable."
)
@click.option(
    "--parameters",
    "-P",
    "file",
    shell_complete=local_files,
    help="A file with a row for each job: .csv .tsv .json .jsonl, or - (JSON lines).",
)
@click.option("--separator", metavar="CHARACTER", help="The column separator of a .csv file. Default: a comma.")
@click.option("--zip", "side_by_side", is_flag=True, help="Combine values by position, instead of all combinations.")
@click.option(
    "--in-flight",
    type=click.IntRange(1),
    metavar="N",
    default=100,
    show_default=True,
    help="The number of jobs at once.",
)
@click.option(
    "--attempts",
    type=click.IntRange(1),
    metavar="N",
    default=1,
    show_default=True,
    help="The number of times to submit a job until it succeeds.",
)
@click.option(
    "--journal",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A file that records the jobs, so that the same command can continue the sweep.",
)
@click.option("--retry-failed", is_flag=True, help="With --journal: rerun the failed jobs of earlier runs.")
@click.option("--fetch-to", type=click.Path(path_type=Path, file_okay=False), help="A directory for the outputs.")
@click.option("--print", "print_output", is_flag=True, help="Print the output of each job instead of a report.")
async def sweep(
    mig: Session,
    /,
    *,
    ranges: tuple[str, ...],
    file: str | None,
    separator: str | None,
    side_by_side: bool,
    in_flight: int,
    attempts: int,
    journal: Path | None,
    retry_failed: bool,
    fetch_to: Path | None,
    print_output: bool,
    **options: Any,
) -> int:
    """Run a job for each of many parameters, some at a time, and report each job at its end.

    {name} stands for a value in commands (where values are quoted), inputs, outputs, variables and the job's name;
    {{name}} is the text {name}.

    \b
      aiomig sweep -p seed=1:100 --in-flight 20 -i fit.py 'python3 fit.py --seed {seed}'
      aiomig sweep -P runs.csv -o fit.png:{id}.png --fetch-to plots -i fit.py python3 fit.py {id}

    With --journal the same command continues after a crash or Ctrl-C. Ended jobs are not run again, even if rows were
    reordered. Ctrl-C cancels the jobs in flight. Exits with 1 if a job failed in this or an earlier run.
    """
    if retry_failed and journal is None:
        raise click.UsageError("--retry-failed needs the --journal of the earlier runs")
    parameters = _parameters(ranges, file, separator, side_by_side=side_by_side)
    make_spec = _template(parameters, [text.partition("=")[0] for text in ranges], options)
    tally = _Tally(len(parameters), retries_failed=retry_failed)
    again: Literal["failed", "never"] = "failed" if retry_failed else "never"
    sweep = mig.sweep(make_spec, parameters, in_flight=in_flight, retries=attempts - 1, journal=journal, again=again)
    async with sweep as jobs:
        try:
            await _collect(jobs, tally, fetch_to, print_output=print_output)
        finally:
            tally.report(jobs, journal)
    for parameter, error in jobs.errors:
        say(f"{_format(parameter)}: {sentence(error)}")
    return ExitCode.FAILURE if jobs.counts.failed or jobs.errors else ExitCode.SUCCESS


async def _collect(jobs: Sweep, tally: _Tally, fetch_to: Path | None, *, print_output: bool) -> None:
    with _progress(tally) as advance:
        async for job in jobs:
            result = await job.result(check=False)
            if fetch_to is not None:
                await job.fetch(fetch_to, check=False)
            tally.count(ok=result.ok)
            advance(jobs.counts.earlier)
            _report(job, result, print_output=print_output)


def _parameters(
    ranges: tuple[str, ...], file: str | None, separator: str | None, *, side_by_side: bool
) -> list[Parameter]:
    if not ranges and file is None:
        raise click.UsageError("there are no parameters; give -p NAME=1:10, or a file by --parameters")
    combinations = combine([parse(text) for text in ranges], side_by_side=side_by_side) if ranges else [{}]
    if file is None:
        return combinations
    table = read(file, separator)
    if both := sorted(table[0].keys() & combinations[0].keys()) if table else []:
        raise click.UsageError(f"the parameter {both[0]!r} is given by -p and by {file}; give it only once")
    return [{**row, **combination} for row in table for combination in combinations]


def _template(parameters: list[Parameter], names: list[str], options: dict[str, Any]) -> Callable[[Parameter], JobSpec]:
    """Return the function that makes the job description for a parameter.

    Call it once for the first parameter, to find faults before anything is sent.
    """
    texts = _texts(options)
    _ensure_valid_names(parameters[:1], texts)
    _ensure_used(parameters, names, placeholders(texts))
    words, lines = options.pop("words"), options.pop("command")

    def make_spec(parameter: Parameter) -> JobSpec:
        # job_spec quotes several words; in a single word, which is a command line, only the values are quoted.
        filled_words = tuple(fill(word, parameter, quoted=len(words) == 1) for word in words)
        filled_lines = tuple(fill(line, parameter, quoted=True) for line in lines)
        filled_options = {name: _fill_option(value, parameter) for name, value in options.items()}
        return job_spec(filled_words, filled_lines, **filled_options)

    for parameter in parameters[:1]:
        make_spec(parameter)
    return make_spec


def _ensure_valid_names(parameters: list[Parameter], texts: list[str]) -> None:
    """Refuse placeholders for columns whose names are not valid."""
    for name in (name for row in parameters for name in row if not is_name(name)):
        if any(f"{{{name}}}" in text for text in texts):
            remedy = "rename the column: ASCII letters, digits and _, and no digit first"
            raise click.UsageError(f"{{{name}}} cannot be a placeholder; {remedy}")


def _ensure_used(parameters: list[Parameter], names: list[str], used: set[str]) -> None:
    """Refuse parameters without a placeholder, and placeholders without a parameter."""
    for name in names:
        if name not in used:
            raise click.UsageError(f"the parameter {name!r} is not used; write {{{name}}} where its value belongs")
    for number, row in enumerate(parameters, 1):
        if missing := sorted(used - row.keys()):
            name = missing[0]
            raise click.UsageError(
                f"{{{name}}} is not a parameter of job {number}, which has: {', '.join(row) or 'none'}; "
                f"correct the name, or write {{{{{name}}}}} for the text {{{name}}}"
            )
        columns = row.keys() - set(names)
        if columns and not used & columns:
            valid = " ".join(f"{{{name}}}" for name in row if name in columns and is_name(name))
            remedy = f"write {valid} where the values belong" if valid else "rename them: ASCII letters, digits and _"
            raise click.UsageError(f"no column of the file is used; {remedy}")


def _texts(options: dict[str, Any]) -> list[str]:
    values = [value if isinstance(value, tuple) else (value,) for value in options.values()]
    return [text for value in values for text in value if isinstance(text, str)]


def _fill_option(value: Any, parameter: Parameter) -> Any:
    if isinstance(value, tuple):
        return tuple(_fill_option(item, parameter) for item in value)
    return fill(value, parameter) if isinstance(value, str) else value


def _format(parameter: Parameter) -> str:
    return " ".join(f"{name}={value}" for name, value in parameter.items())


def _report(job: Job, result: JobResult, *, print_output: bool) -> None:
    if current().json:
        write_json({"parameter": job.parameter, **result.as_dict()})
    elif print_output:
        write_bytes(result.stdout_bytes)
        write_bytes(result.stderr_bytes, to_stderr=True)
    else:
        code = "-" if result.exit_code is None else str(result.exit_code)
        write(f"{_format(job.parameter)}  {result.status.state}  {code}  {job.id}")


class _Tally:
    """Counts the jobs that have ended in this run."""

    def __init__(self, total: int, *, retries_failed: bool) -> None:
        self.total = total
        self._retries_failed = retries_failed
        self.ended = 0
        self.ok = 0
        self._began = time.monotonic()

    def count(self, *, ok: bool) -> None:
        """Count an ended job."""
        self.ended += 1
        self.ok += ok

    @property
    def rate(self) -> float:
        """Ended jobs per second."""
        return self.ended / max(time.monotonic() - self._began, 1e-9)

    def report(self, jobs: Sweep, journal: Path | None) -> None:
        """Write a summary to standard error, and how to continue an interrupted sweep."""
        if current().quiet:
            return
        earlier, failed, errors = jobs.counts.earlier, jobs.counts.failed, len(jobs.errors)
        left = self.total - self.ended - earlier - errors
        summary = f"{self.ended + earlier - failed} of {self.total} jobs succeeded, {failed} failed"
        summary += f", {errors} were not submitted" if errors else ""
        summary += f", {left} were not run" if left else ""
        summary += f"; {earlier} ended in earlier runs" if earlier else ""
        say(f"{summary}; {duration(time.monotonic() - self._began)}")
        if left and journal:
            say(f"to run the remaining {left}, repeat the command; {journal} records which jobs have ended")
        elif left:
            say("the same command starts over; with --journal FILE it would continue")
        if failed and journal and not self._retries_failed:
            say("to rerun the failed jobs, add --retry-failed")


@contextmanager
def _progress(tally: _Tally) -> Iterator[Callable[[int], None]]:
    """Show a progress bar with rate and remaining time if standard error is a terminal."""
    console = None if current().quiet else terminal(stderr=True)
    if console is None:
        yield lambda _: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"), TimeRemainingColumn()
    with Progress(*columns, console=console, auto_refresh=False, transient=True) as progress:
        task = progress.add_task("", total=tally.total, rate="")
        progress.refresh()
        last_redraw = 0.0

        def advance(earlier: int) -> None:
            nonlocal last_redraw
            progress.update(task, completed=tally.ended + earlier, rate=f"{tally.rate:.1f} jobs/s")
            if time.monotonic() - last_redraw >= _INTERVAL or tally.ended + earlier == tally.total:
                progress.refresh()
                last_redraw = time.monotonic()

        yield advance
