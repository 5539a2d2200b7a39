"""The options of every command: which grid, how much to report, in which form."""

from __future__ import annotations

import getpass
import os
import shlex
import sys
from dataclasses import dataclass, field
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
    """The options that may stand before or after the name of a command.

    Attributes:
        mode: ``"grid"`` or ``"local"``, or ``None`` for what `aiomig.connect` finds.
        config: the configuration file of the grid.
        home: the home of local mode.
        slots: how many jobs local mode runs at once.
        json: print JSON.
        quiet: report nothing.
        verbose: show log lines: 1 for those of jobs, 2 for all.
        debug: show tracebacks.
        on_interrupt: what an interrupt does to the jobs in `jobs`.
        jobs: the ids of the jobs that this command submitted, or waits for.
        names_missing_outputs: whether the command itself tells which outputs were not made.
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
            **local_settings: more settings of local mode.

        Raises:
            ConfigError: the configuration of the grid is missing or wrong.
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
                "aiomig init makes one, --config FILE names another, --local runs jobs on this machine"
            )
        local_fields = {"home": self.home, "slots": self.slots}
        options: Any = {name: value for name, value in local_fields.items() if value is not None}
        session = connect(mode, config=self.config, on_exit="leave", **options, **local_settings)
        if session.mode == "grid" and sys.stdin.isatty() and (config := Config.load(self.config)).password is None:
            # The passphrase is asked for only if the key is encrypted.
            return connect("grid", config=config.replace(password=_asked))
        return session

    @property
    def switches(self) -> str:
        """The options with which another command finds the same jobs, with a blank at their end."""
        words = [f"--{self.mode}"] if self.mode else []
        words += [f"--config {shlex.quote(str(self.config))}"] if self.config else []
        words += [f"--home {shlex.quote(str(self.home))}"] if self.home else []
        return "".join(f"{word} " for word in words)


def _asked() -> str:
    return getpass.getpass("Passphrase of the key: ")


def current() -> Settings:
    """Return the settings of the command that runs."""
    settings = click.get_current_context().find_object(Settings)
    assert settings is not None
    return settings


def _remember(context: click.Context, parameter: click.Parameter, value: Any) -> Any:
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


_SHARED: tuple[tuple[tuple[str, ...], dict[str, Any]], ...] = (
    (("--local",), {"is_flag": True, "help": "Work on this machine's cores."}),
    (("--grid",), {"is_flag": True, "help": "Work on the grid."}),
    (
        ("--config",),
        {
            "type": click.Path(path_type=Path),
            "help": "The miguser.conf, not $AIOMIG_CONFIG or ~/.mig/miguser.conf.",
        },
    ),
    (("--home",), {"type": click.Path(path_type=Path), "help": "The home of local mode. Default: $AIOMIG_HOME."}),
    (("--slots",), {"type": click.IntRange(1), "metavar": "N", "help": "How many cores local mode uses."}),
    (("--json",), {"is_flag": True, "help": "Print JSON, for scripts."}),
    (("--quiet", "-q"), {"is_flag": True, "help": "Report nothing."}),
    (("--verbose", "-v"), {"count": True, "help": "Show log lines; -vv shows all."}),
    (("--debug",), {"is_flag": True, "help": "Show tracebacks and all log lines."}),
)

SHARED_NAMES = frozenset({"local", "grid", "config", "home", "slots", "json", "quiet", "verbose", "debug"})


def local_files(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Let a shell complete the names of files, for values that are more than a path."""
    from click.shell_completion import CompletionItem

    return [CompletionItem(incomplete, type="file")]


def shared_options(function: _F) -> _F:
    """Add the options of every command, which may stand before and after its name."""
    for names, options in reversed(_SHARED):
        function = click.option(*names, expose_value=False, callback=_remember, **options)(function)
    return function
