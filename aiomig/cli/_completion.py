"""The command ``completion``."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from ._app import app
from ._command import command
from ._output import write


@command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the script that makes a shell complete the commands and options of aiomig.

    \b
      bash:  eval "$(aiomig completion bash)"            in ~/.bashrc
      zsh:   eval "$(aiomig completion zsh)"             in ~/.zshrc
      fish:  aiomig completion fish | source             in ~/.config/fish/config.fish
    """
    kind = get_completion_class(shell)
    assert kind is not None
    write(kind(app, {}, "aiomig", "_AIOMIG_COMPLETE").source())
