"""`completion bash|zsh|fish`: what a shell reads to complete a program's words."""

from __future__ import annotations

import click
from click.shell_completion import CompletionItem, get_completion_class

SHELLS = ("bash", "zsh", "fish")
HELP = """Print what a shell needs to complete commands and options.

\b
  bash   eval "$({prog} completion bash)"          in ~/.bashrc
  zsh    eval "$({prog} completion zsh)"           in ~/.zshrc
  fish   {prog} completion fish > ~/.config/fish/completions/{prog}.fish
"""


class FileOrText(click.types.StringParamType):
    """A text that may be the name of a file: shells complete it as one."""

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """For the shell to fill in."""
        return [CompletionItem(incomplete, type="file")]


def completion_command(prog: str) -> click.Command:
    """The subcommand for the program `prog`, whose main command is the subcommand's parent."""

    def print_script(shell: str) -> None:
        context = click.get_current_context()
        assert context.parent is not None
        made = get_completion_class(shell)
        assert made is not None
        variable = f"_{prog.replace('-', '_').upper()}_COMPLETE"
        print(made(context.parent.command, {}, prog, variable).source())

    argument = click.Argument(["shell"], type=click.Choice(SHELLS), metavar="|".join(SHELLS))
    return click.Command("completion", callback=print_script, params=[argument], help=HELP.format(prog=prog))
