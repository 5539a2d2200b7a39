"""Makes commands of functions."""

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
    """A command. Its help lists its own options apart from those of all commands."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run it. click would end the program itself if an `OSError` says that the reader of a pipe is gone."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise OutputFailed(error) from error

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write two lists of options."""
        own: list[tuple[str, str]] = []
        shared: list[tuple[str, str]] = []
        for parameter in self.get_params(ctx):
            if isinstance(parameter, click.Option) and (record := parameter.get_help_record(ctx)) is not None:
                (shared if parameter.name in SHARED_NAMES else own).append(record)
        for title, records in (("Options", own), ("Options of all commands, which may stand before its name", shared)):
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)


def command(
    name: str, group: click.Group | None = None, *, options_first: bool = False
) -> Callable[[Callable[..., Any]], click.Command]:
    """Make a command of a function; the decorator of every command.

    Args:
        name: the name of the command.
        group: the command that it belongs to.
        options_first: the first argument ends the options: the rest is a command line of its own.

    Returns:
        The decorator. It gives an async function an open session as its first argument, see `in_session`.
    """

    def decorate(function: Callable[..., Any]) -> click.Command:
        run = in_session(function) if inspect.iscoroutinefunction(function) else function
        settings = {"allow_interspersed_args": not options_first}
        made = click.command(name, cls=Command, context_settings=settings)(shared_options(run))
        if group is not None:
            group.add_command(made)
        return made

    return decorate
