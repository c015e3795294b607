"""`completion bash|zsh|fish`: prints a program's shell completion script."""

from __future__ import annotations

import click
from click.shell_completion import CompletionItem, get_completion_class

SHELLS = ("bash", "zsh", "fish")
HELP = """Print the shell completion script for commands and options.

\b
  bash   eval "$({prog} completion bash)"          in ~/.bashrc
  zsh    eval "$({prog} completion zsh)"           in ~/.zshrc
  fish   {prog} completion fish > ~/.config/fish/completions/{prog}.fish
"""


class FileOrText(click.types.StringParamType):
    """Text that may be a file name: shells complete it as one."""

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Tells the shell to complete file names."""
        return [CompletionItem(incomplete, type="file")]


def completion_command(prog: str) -> click.Command:
    """The `completion` subcommand of the program `prog`, to be added to its main command."""

    def print_script(shell: str) -> None:
        context = click.get_current_context()
        assert context.parent is not None
        made = get_completion_class(shell)
        assert made is not None
        variable = f"_{prog.replace('-', '_').upper()}_COMPLETE"
        print(made(context.parent.command, {}, prog, variable).source())

    argument = click.Argument(["shell"], type=click.Choice(SHELLS), metavar="|".join(SHELLS))
    return click.Command("completion", callback=print_script, params=[argument], help=HELP.format(prog=prog))
