"""The decorator that turns a function into a command."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import click

from ._output import OutputFailed
from ._running import in_session
from ._settings import SHARED_NAMES, shared_options

if TYPE_CHECKING:
    from collections.abc import Callable


class Command(click.Command):
    """A command. Its help lists its own options separately from the options of all commands."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command. Convert `BrokenPipeError`, because click would exit on it."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise OutputFailed(error) from error

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the two lists of options."""
        own: list[tuple[str, str]] = []
        shared: list[tuple[str, str]] = []
        for parameter in self.get_params(ctx):
            if isinstance(parameter, click.Option) and (record := parameter.get_help_record(ctx)) is not None:
                (shared if parameter.name in SHARED_NAMES else own).append(record)
        for title, records in (("Options", own), ("Options of all commands, also allowed before the command", shared)):
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)


def command(
    name: str, group: click.Group | None = None, *, options_first: bool = False
) -> Callable[[Callable[..., Any]], click.Command]:
    """Return a decorator that turns a function into a command.

    An async function gets an open session as its first argument; see `in_session`.

    Args:
        name: the name of the command.
        group: the parent of a subcommand.
        options_first: whether the first argument ends the options, because the rest is a command line for the job.
    """

    def decorate(function: Callable[..., Any]) -> click.Command:
        run = in_session(function) if inspect.iscoroutinefunction(function) else function
        settings = {"allow_interspersed_args": not options_first}
        new_command = click.command(name, cls=Command, context_settings=settings)(shared_options(run))
        if group is not None:
            group.add_command(new_command)
        return new_command

    return decorate
