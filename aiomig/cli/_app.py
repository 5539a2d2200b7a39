"""The program ``aiomig``: its commands, which are imported on demand, and its exit code."""

from __future__ import annotations

import difflib
import importlib
import sys
import traceback
from typing import TYPE_CHECKING, Any

import click

from .. import GridError, __version__
from .._core.display import printable
from ._exit_codes import MEANINGS, ExitCode, exit_code_of, sentence
from ._output import OutputFailed, say, to_json, write_error
from ._settings import Settings, shared_options

if TYPE_CHECKING:
    from collections.abc import Sequence

SECTIONS: dict[str, dict[str, tuple[str, str]]] = {
    "Run": {
        "run": ("_run", "Run a job, print its output, and exit with its exit code."),
        "submit": ("_run", "Submit a job and print its id."),
        "submit-mrsl": ("_run", "Submit job descriptions written in mRSL."),
        "mrsl": ("_run", "Show a job description without sending it."),
        "check": ("_run", "Check whether the grid accepts and can run a job."),
        "sweep": ("_sweep", "Run a job for each of many parameters."),
    },
    "Jobs": {
        "jobs": ("_jobs", "List jobs, newest first."),
        "status": ("_jobs", "Show jobs in full."),
        "watch": ("_watch", "Follow jobs in a live table until they end."),
        "wait": ("_jobs", "Wait until jobs end."),
        "output": ("_jobs", "Wait for jobs and print their output."),
        "tail": ("_tail", "Print the end of a job's output or of a file."),
        "fetch": ("_jobs", "Download the outputs of jobs."),
        "cancel": ("_actions", "Cancel jobs."),
        "freeze": ("_actions", "Hold back waiting jobs."),
        "thaw": ("_actions", "Put frozen jobs back into the queue."),
        "resubmit": ("_actions", "Submit jobs again as new jobs."),
        "send-live": ("_live_files", "Copy files of a running job into the MiG home."),
        "get-live": ("_live_files", "Copy files of the MiG home to a running job."),
        "clean": ("_actions", "Remove files of jobs from the MiG home."),
        "unconfirmed": ("_unconfirmed", "List submits with an unknown outcome."),
        "timeline": ("_timeline", "Draw a timeline of jobs."),
    },
    "Files of the MiG home": {
        "ls": ("_listing", "List files."),
        "find": ("_listing", "Find files by name."),
        "stat": ("_listing", "Show the size and time of files."),
        "du": ("_listing", "Show the total size of directories."),
        "put": ("_transfer", "Upload files and directories."),
        "get": ("_transfer", "Download files and directories."),
        "cat": ("_content", "Print files."),
        "head": ("_content", "Print the first lines of files."),
        "grep": ("_content", "Print lines that match a regular expression."),
        "wc": ("_content", "Count lines, words and bytes."),
        "checksum": ("_content", "Print checksums of files."),
        "read": ("_content", "Print a range of bytes of a file."),
        "write": ("_content", "Write standard input to a file."),
        "cp": ("_changes", "Copy files within the home."),
        "mv": ("_changes", "Move files within the home."),
        "rm": ("_changes", "Remove files."),
        "mkdir": ("_changes", "Create directories."),
        "rmdir": ("_changes", "Remove empty directories."),
        "touch": ("_changes", "Set the time of files to now, or create them."),
        "truncate": ("_changes", "Shorten or extend files."),
        "pack": ("_changes", "Create an archive of a file or directory."),
        "unpack": ("_changes", "Unpack an archive."),
    },
    "The grid": {
        "site": ("_site", "Show what the grid offers to jobs."),
        "docs": ("_site", "Show the documentation of mRSL keywords."),
        "queue": ("_queue", "Send and receive messages between programs and jobs."),
        "share": ("_services", "Give others access to files by URL."),
        "archive": ("_services", "Store unchangeable copies of files in archives."),
        "transfer": ("_services", "Let the server copy files from and to other servers."),
        "crontab": ("_services", "Let the server run commands at given times."),
        "trigger": ("_services", "Let a VGrid submit jobs when files change."),
        "account": ("_services", "Show statistics of the user's account."),
        "call": ("_call", "Call any operation of the server."),
    },
    "The web": {
        "serve": ("_serve", "Show jobs and files on a web page."),
    },
    "Set-up": {
        "init": ("_init", "Create a miguser.conf for a certificate."),
        "doctor": ("_doctor", "Check configuration, certificate and server, and run a job."),
        "completion": ("_completion", "Print the completion script for a shell."),
    },
}
"""The commands by section: the module and the summary of each. Importing all modules takes too long for ``--help``."""

_COMMANDS = {name: entry for section in SECTIONS.values() for name, entry in section.items()}


class Program(click.Group):
    """The top-level command, which contains all others."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f".{_COMMANDS[cmd_name][0]}", __package__)
        command = getattr(module, cmd_name.replace("-", "_"))
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find a command, or suggest one with a similar name."""
        if args and args[0] not in _COMMANDS and not args[0].startswith("-"):
            similar = difflib.get_close_matches(args[0], _COMMANDS, 1)
            hint = f"did you mean {similar[0]!r}?" if similar else "aiomig --help lists all commands"
            ctx.fail(f"there is no command {args[0]!r}; {hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands in sections, without importing them."""
        for section, commands in SECTIONS.items():
            with formatter.section(section):
                formatter.write_dl([(name, summary) for name, (_, summary) in commands.items()])

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands before the options."""
        self.format_commands(ctx, formatter)
        click.Command.format_options(self, ctx, formatter)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the exit codes."""
        with formatter.section("Exit codes (run exits with the job's)"):
            formatter.write_dl([(str(int(code)), meaning) for code, meaning in MEANINGS.items()])


@click.group(
    cls=Program,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    subcommand_metavar="COMMAND [ARGUMENTS]...",
)
@shared_options
@click.version_option(__version__, prog_name="aiomig")
def app() -> None:
    """Run jobs on the Minimum intrusion Grid (MiG), or on this machine's cores.

    Try aiomig run 'echo HELLO GRID'. aiomig COMMAND --help describes a command. --local and --grid choose where jobs
    run. The default is $AIOMIG_MODE, then the grid if there is a configuration (see aiomig init), else local.
    """


def run(arguments: Sequence[str] | None = None) -> int:
    """Run a command line.

    Args:
        arguments: the arguments, without the program's name; the default is ``sys.argv[1:]``.

    Returns:
        The exit code.
    """
    settings = Settings()
    try:
        code: Any = app.main(arguments, prog_name="aiomig", standalone_mode=False, obj=settings)
        return int(code or 0)
    except click.exceptions.NoArgsIsHelpError as error:
        write_error(f"{error.format_message()}\n")
        return ExitCode.USAGE
    except click.ClickException as error:
        if "--json" in (sys.argv[1:] if arguments is None else arguments):  # click may have stopped before it
            settings.json = True
        _report(settings, error, error.format_message(), ExitCode(error.exit_code))
        if isinstance(error, click.UsageError) and error.ctx is not None and not settings.json:
            write_error(f"Try '{error.ctx.command_path} --help'.\n")
        return error.exit_code
    except SystemExit:
        return ExitCode.BROKEN_PIPE  # click exits like this if the reader of its help is gone
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - users get one sentence for any error
        return _report_failure(settings, error)


def _report_failure(settings: Settings, error: BaseException) -> int:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, OutputFailed) and error.reader_gone:
        return ExitCode.BROKEN_PIPE
    if isinstance(error, KeyboardInterrupt | click.Abort):
        _report(settings, error, "interrupted", ExitCode.INTERRUPTED)
        return ExitCode.INTERRUPTED
    if settings.debug:
        write_error(printable("".join(traceback.format_exception(error)), keep="\n"))
    code = exit_code_of(error)
    _report(settings, error, sentence(error), code)
    if settings.jobs and not settings.quiet and not settings.json:
        names = " ".join(settings.jobs[:3])
        if isinstance(error, GridError):
            say(f"the jobs remain on the grid; try later: aiomig {settings.switches}wait {names}")
        elif isinstance(error, OutputFailed):
            say(f"the jobs are not affected: {names}")
    return code


def _report(settings: Settings, error: BaseException, message: str, code: ExitCode) -> None:
    if not settings.json:
        say(message)
        return
    value = {"error": {"type": type(error).__name__, "message": message, "exit_code": int(code)}}
    write_error(f"{to_json(value)}\n")
