"""The options of all commands: where jobs run, how much to report, in which format."""

from __future__ import annotations

import getpass
import os
import shlex
import sys
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import click

if TYPE_CHECKING:
    from collections.abc import Callable

    from click.shell_completion import CompletionItem

    from .. import Session

_F = TypeVar("_F", bound="Callable[..., Any]")


@dataclass(slots=True)
class Settings:
    """The values of the options of all commands, and the state of the running command.

    Attributes:
        mode: ``"grid"`` or ``"local"``; ``None`` lets `aiomig.connect` choose.
        config: the configuration file of the grid.
        home: the home of local mode.
        slots: the number of jobs that local mode runs at once.
        json: print JSON.
        quiet: report nothing.
        verbose: show log lines: 1 for messages about jobs, 2 for all.
        debug: show tracebacks.
        on_interrupt: what an interrupt does to the jobs in ``jobs``.
        jobs: the ids of the jobs that the command submitted or waits for.
        names_missing_outputs: whether the command itself reports missing outputs; their log lines are then omitted.
    """

    mode: Literal["grid", "local"] | None = None
    config: Path | None = None
    home: Path | None = None
    slots: int | None = None
    json: bool = False
    quiet: bool = False
    verbose: int = 0
    debug: bool = False
    on_interrupt: Literal["leave", "cancel"] = "leave"
    jobs: list[str] = field(default_factory=list)
    names_missing_outputs: bool = False

    def session(self, **local_settings: Any) -> Session:
        """Return a session that is not open yet.

        Args:
            **local_settings: additional settings of local mode.

        Raises:
            ConfigError: the configuration of the grid is missing or invalid.
            click.UsageError: the options contradict each other.
        """
        from .. import Config, ConfigError, connect

        is_local = self.home is not None or self.slots is not None
        if is_local and (self.mode == "grid" or self.config is not None):
            raise click.UsageError("--home and --slots are for local mode; leave them out, or use --local")
        mode = self.mode or ("local" if is_local else "grid" if self.config else None)
        if mode == "local" and self.config is not None:
            raise click.UsageError("--config is for the grid; leave it out, or use --grid")
        if mode == "grid" and self.config is None and Config.find() is None:
            hint = "" if os.environ.get("HOME") else " (HOME is not set)"
            raise ConfigError(
                f"there is no configuration of a grid: neither ~/.mig/miguser.conf{hint} nor $AIOMIG_CONFIG; "
                "create one with aiomig init, or give --config FILE, or run jobs on this machine with --local"
            )
        if self.home is not None:
            local_settings["home"] = self.home
        if self.slots is not None:
            local_settings["slots"] = self.slots
        session = connect(mode, config=self.config, on_exit="leave", **local_settings)
        if session.mode == "grid" and sys.stdin.isatty() and (config := Config.load(self.config)).password is None:
            # The session calls this only if the key is encrypted.
            return connect("grid", config=config.replace(password=lambda: getpass.getpass("Passphrase of the key: ")))
        return session

    @property
    def switches(self) -> str:
        """The options with which another command finds the same jobs, each followed by a space."""
        switches = [f"--{self.mode}"] if self.mode else []
        switches += [f"--config {shlex.quote(str(self.config))}"] if self.config else []
        switches += [f"--home {shlex.quote(str(self.home))}"] if self.home else []
        return "".join(f"{switch} " for switch in switches)


def current() -> Settings:
    """Return the settings of the running command."""
    settings = click.get_current_context().find_object(Settings)
    assert settings is not None
    return settings


def _store(context: click.Context, parameter: click.Parameter, value: Any) -> Any:
    """Store the value of an option in the settings."""
    settings = context.find_object(Settings)
    if settings is None or not value or parameter.name is None:
        return value
    if parameter.name in ("local", "grid"):
        if settings.mode not in (None, parameter.name):
            raise click.UsageError("--local and --grid exclude each other; use one of them")
        settings.mode = "local" if parameter.name == "local" else "grid"
    else:
        setattr(settings, parameter.name, value)
    return value


_option = partial(click.option, expose_value=False, callback=_store)
_path = click.Path(path_type=Path)
_SHARED = (
    _option("--local", is_flag=True, help="Run jobs on this machine's cores."),
    _option("--grid", is_flag=True, help="Run jobs on the grid."),
    _option("--config", type=_path, help="The miguser.conf. Default: $AIOMIG_CONFIG or ~/.mig/miguser.conf."),
    _option("--home", type=_path, help="The home of local mode. Default: $AIOMIG_HOME."),
    _option("--slots", type=click.IntRange(1), metavar="N", help="The number of cores that local mode uses."),
    _option("--json", is_flag=True, help="Print JSON, for scripts."),
    _option("--quiet", "-q", is_flag=True, help="Report nothing."),
    _option("--verbose", "-v", count=True, help="Show log lines; -vv shows all."),
    _option("--debug", is_flag=True, help="Show tracebacks and all log lines."),
)

SHARED_NAMES = frozenset({"local", "grid", "config", "home", "slots", "json", "quiet", "verbose", "debug"})


def local_files(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Let the shell complete file names. For values that are not just a path."""
    from click.shell_completion import CompletionItem

    return [CompletionItem(incomplete, type="file")]


def shared_options(function: _F) -> _F:
    """Add the options of all commands. They are allowed before and after the name of a command."""
    for option in reversed(_SHARED):
        function = option(function)
    return function
