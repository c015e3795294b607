"""`python -m fastmarket server|client|demo ...`: the commands without their installed scripts."""

from __future__ import annotations

import sys
from importlib import import_module

COMMANDS = ("server", "client", "demo")


def main() -> int:
    """Run the command named first with the words after it; 2 when there is none of that name."""
    if len(sys.argv) < 2 or sys.argv[1] not in COMMANDS:
        print(f"usage: python -m fastmarket {{{'|'.join(COMMANDS)}}} ...", file=sys.stderr)
        return 2
    module = import_module(f"fastmarket.cli.{sys.argv[1]}")
    return int(module.main(sys.argv[2:]))


if __name__ == "__main__":
    sys.exit(main())
