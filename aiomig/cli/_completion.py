"""The command ``completion``: prints completion scripts for shells."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from ._app import app
from ._command import command
from ._output import write


@command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the script with which a shell completes commands and options of aiomig.

    \b
      bash:  eval "$(aiomig completion bash)"            in ~/.bashrc
      zsh:   eval "$(aiomig completion zsh)"             in ~/.zshrc
      fish:  aiomig completion fish | source             in ~/.config/fish/config.fish
    """
    shell_class = get_completion_class(shell)
    assert shell_class is not None
    write(shell_class(app, {}, "aiomig", "_AIOMIG_COMPLETE").source())
