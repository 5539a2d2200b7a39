"""The program ``aiomig``: its commands, each loaded when it is called, and its exit code."""

from __future__ import annotations

import difflib
import importlib
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
        "run": ("_run", "Run a job, and print and exit as it does."),
        "submit": ("_run", "Submit a job, and print its id."),
        "submit-mrsl": ("_run", "Submit descriptions written by hand."),
        "mrsl": ("_run", "Show the job description, and send nothing."),
        "check": ("_run", "Check whether the grid would take and could run a job."),
        "sweep": ("_sweep", "Run a job for each of many parameters."),
    },
    "Jobs": {
        "jobs": ("_jobs", "List jobs, newest first."),
        "status": ("_jobs", "Show jobs in full."),
        "watch": ("_watch", "Follow jobs in a live table until they end."),
        "wait": ("_jobs", "Wait until jobs have ended."),
        "output": ("_jobs", "Wait for a job, and print what it wrote."),
        "tail": ("_tail", "Print the end of a job's output or of a file."),
        "fetch": ("_jobs", "Download the outputs of jobs."),
        "cancel": ("_actions", "Cancel jobs."),
        "freeze": ("_actions", "Hold waiting jobs back."),
        "thaw": ("_actions", "Put frozen jobs back into the queue."),
        "resubmit": ("_actions", "Submit jobs again, as new ones."),
        "send-live": ("_live_files", "Have a running job send files into the home."),
        "get-live": ("_live_files", "Give files of the home to a running job."),
        "clean": ("_actions", "Remove what jobs left in the MiG home."),
        "unconfirmed": ("_unconfirmed", "List submits that were cut off."),
        "timeline": ("_timeline", "Draw when jobs waited and ran."),
    },
    "Files of the MiG home": {
        "ls": ("_listing", "List files."),
        "find": ("_listing", "Find files by their names."),
        "stat": ("_listing", "Show size and time of files."),
        "du": ("_listing", "Add up the sizes below directories."),
        "put": ("_transfer", "Upload files and directories."),
        "get": ("_transfer", "Download files and directories."),
        "cat": ("_content", "Print files."),
        "head": ("_content", "Print the first lines of files."),
        "grep": ("_content", "Print the lines that match a regular expression."),
        "wc": ("_content", "Count lines, words and bytes."),
        "checksum": ("_content", "Print checksums of files."),
        "read": ("_content", "Print a range of the bytes of a file."),
        "write": ("_content", "Write standard input into a file."),
        "cp": ("_changes", "Copy files inside the home."),
        "mv": ("_changes", "Move files inside the home."),
        "rm": ("_changes", "Remove files."),
        "mkdir": ("_changes", "Make directories."),
        "rmdir": ("_changes", "Remove empty directories."),
        "touch": ("_changes", "Set the time of files to now, or create them."),
        "truncate": ("_changes", "Cut or lengthen files."),
        "pack": ("_changes", "Make an archive of a file or directory."),
        "unpack": ("_changes", "Unpack an archive."),
    },
    "The grid": {
        "site": ("_site", "Show what the grid offers to jobs."),
        "docs": ("_site", "Show the documentation of the keywords of job descriptions."),
        "queue": ("_queue", "Send and receive messages between programs and jobs."),
        "share": ("_services", "Give others access to files by a URL."),
        "archive": ("_services", "Freeze copies of files in archives."),
        "transfer": ("_services", "Have the server copy files from and to other servers."),
        "crontab": ("_services", "Have the server run commands at given times."),
        "trigger": ("_services", "Have a VGrid submit jobs when files change."),
        "account": ("_services", "Show what the server says about the user."),
        "call": ("_call", "Run any operation of the server."),
    },
    "The web": {
        "serve": ("_serve", "Show jobs and files on a page in the browser."),
    },
    "Set-up": {
        "init": ("_init", "Make a miguser.conf for a certificate."),
        "doctor": ("_doctor", "Check configuration, certificate and server, and run a job."),
        "completion": ("_completion", "Print the completion script of a shell."),
    },
}
"""The commands by section: the module and the help of each. Loading all modules would take too long."""

_COMMANDS = {name: entry for section in SECTIONS.values() for name, entry in section.items()}


class Program(click.Group):
    """The group of all commands."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load a command."""
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f".{_COMMANDS[cmd_name][0]}", __package__)
        command = getattr(module, cmd_name.replace("-", "_"))
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find a command, or the command that was probably meant."""
        if args and args[0] not in _COMMANDS and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], _COMMANDS, 1)
            hint = f"did you mean {near[0]!r}?" if near else "aiomig --help lists all"
            ctx.fail(f"there is no command {args[0]!r}; {hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands in sections, without loading them."""
        for section, commands in SECTIONS.items():
            with formatter.section(section):
                formatter.write_dl([(name, text) for name, (_, text) in commands.items()])

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands before the options."""
        self.format_commands(ctx, formatter)
        click.Command.format_options(self, ctx, formatter)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the exit codes."""
        with formatter.section("Exit codes (run: that of the job)"):
            formatter.write_dl([(str(int(code)), meaning) for code, meaning in MEANINGS.items()])


@click.group(
    cls=Program,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    subcommand_metavar="COMMAND [ARGUMENTS]...",
)
@shared_options
@click.version_option(__version__, prog_name="aiomig")
def app() -> None:
    """Jobs on the Minimum intrusion Grid (MiG), and the same jobs on this machine's cores.

    Try aiomig run 'echo HELLO GRID'. aiomig COMMAND --help describes a command. --local and --grid choose where jobs
    run. The default is $AIOMIG_MODE, then the grid if there is a configuration (aiomig init makes one), else local.
    """


def run(arguments: Sequence[str] | None = None) -> int:
    """Run a command line.

    Args:
        arguments: without the name of the program; the default are those of this process.

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
        _report(settings, error, error.format_message(), ExitCode(error.exit_code))
        if isinstance(error, click.UsageError) and error.ctx is not None and not settings.json:
            write_error(f"Try '{error.ctx.command_path} --help'.\n")
        return error.exit_code
    except SystemExit:
        return ExitCode.BROKEN_PIPE  # click ends the program so if the reader of its help is gone
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - whatever it is, the user gets a sentence
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
            say(f"its jobs are on the grid all the same; later: aiomig {settings.switches}wait {names}")
        elif isinstance(error, OutputFailed):
            say(f"its jobs are not affected: {names}")
    return code


def _report(settings: Settings, error: BaseException, text: str, code: ExitCode) -> None:
    if not settings.json:
        say(text)
        return
    value = {"error": {"type": type(error).__name__, "message": text, "exit_code": int(code)}}
    write_error(f"{to_json(value)}\n")
