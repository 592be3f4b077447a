"""`rota completion`: scripts that let a shell complete commands and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

_INSTALL = """\b
To have it in every shell:
  rota completion bash > ~/.local/share/bash-completion/completions/rota
  rota completion zsh  > ~/.zfunc/_rota         (a folder of $fpath)
  rota completion fish > ~/.config/fish/completions/rota.fish"""


@click.command(epilog=_INSTALL)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Write the shell's completion of these commands to stdout."""
    kind = get_completion_class(shell)
    assert kind is not None  # the choices are those that click has
    click.echo(kind(ctx.find_root().command, {}, "rota", "_ROTA_COMPLETE").source())
