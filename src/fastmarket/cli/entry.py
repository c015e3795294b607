"""From a command line to an exit status: 0 success, 1 operation failed, 2 bad usage.

Every failure is one line on stderr that begins with the program's name; a traceback means a bug.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click

from fastmarket.errors import CallerFault, FastmarketError

DONE = 0
FAILED = 1
BAD_USAGE = 2
INTERRUPTED = 130  # 128 + SIGINT, as shells report it

_OPTIONS = {
    "chunker": "--chunker",
    "first": "--range",
    "last": "--range",
    "max_cost": "--max-cost",
    "max_price": "--max-price",
    "price": "--price",
}
"""By the field of a message that a program of ours sends."""


def run(command: click.Command, prog: str, argv: Sequence[str] | None = None) -> int:
    """Parse `argv` (default: the process's), run `command`, and return the exit status."""
    _open_missing_streams()
    try:
        status = command.main(args=argv, prog_name=prog, standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.Exit as leave:
        return leave.exit_code
    except click.UsageError as error:
        return complain(prog, usage_line(error), BAD_USAGE)
    except CallerFault as fault:
        return complain(prog, told(fault), BAD_USAGE)
    except FastmarketError as fault:
        return complain(prog, told(fault), FAILED)
    except click.ClickException as error:
        return complain(prog, error.format_message(), FAILED)
    except (KeyboardInterrupt, click.Abort):
        return INTERRUPTED
    except BrokenPipeError:
        # The reader (`| head`) has exited: keep the interpreter from failing again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    return status if isinstance(status, int) else DONE


def _open_missing_streams() -> None:
    """If started with stdin, stdout or stderr closed, keeps its number from going to the next socket
    opened."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)  # opens the lowest free number: this one
            setattr(sys, name, os.fdopen(opened, mode, closefd=False))


def complain(prog: str, message: str, status: int) -> int:
    """Print `message` as one line on stderr and return `status`."""
    print(f"{prog}: {one_line(message)}", file=sys.stderr)
    return status


def told(fault: FastmarketError) -> str:
    """An error, with the option of a program in place of the field of a message."""
    text, field = str(fault), getattr(fault, "field", None)
    option = _OPTIONS.get(field) if isinstance(field, str) else None
    return text if option is None else f"{option}{text.removeprefix(str(field))}"


def usage_line(error: click.UsageError) -> str:
    """Click's error as `option: what is wrong`, without its preamble."""
    if isinstance(error, click.MissingParameter):
        return f"{_named(error)}: missing"
    if isinstance(error, click.BadParameter):
        return f"{_named(error)}: {error.message}"
    message = error.format_message().rstrip(".")
    return message[:1].lower() + message[1:]


def _named(error: click.BadParameter) -> str:
    """The long option, or the argument's metavar."""
    if error.param is None:
        return str(error.param_hint or "argument")
    if isinstance(error.param, click.Argument):
        return error.param.human_readable_name
    return max(error.param.opts, key=len)


def one_line(text: str) -> str:
    """`text` on one line, without line ends and other control characters."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
