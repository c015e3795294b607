"""`python -m fastmarket server|client|demo ...`: the commands, without their installed scripts."""

from __future__ import annotations

import sys
from importlib import import_module

COMMANDS = {
    "server": "run a node (fastmarket-server)",
    "client": "offer and find files through a node (fastmarket-client)",
    "demo": "three nodes on this machine, one file, two sellers",
}
USAGE = f"usage: python -m fastmarket {{{'|'.join(COMMANDS)}}} ..."


def main() -> int:
    """Runs the command named by the first argument with the others; 2 if there is no such command."""
    if sys.argv[1:2] in (["-h"], ["--help"]):
        print(USAGE, *(f"  {name:<7} {about}" for name, about in COMMANDS.items()), sep="\n")
        print("For the options of a command: python -m fastmarket server --help")
        return 0
    if len(sys.argv) < 2 or sys.argv[1] not in COMMANDS:
        print(USAGE, file=sys.stderr)
        return 2
    module = import_module(f"fastmarket.cli.{sys.argv[1]}")
    return int(module.main(sys.argv[2:]))


if __name__ == "__main__":
    sys.exit(main())
