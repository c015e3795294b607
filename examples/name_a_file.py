"""The name of a file: the same on IPFS and here, whatever the file is called."""

from __future__ import annotations

import sys

from fastmarket import cid_of_file


def main() -> None:
    """The files named on the command line, else this one."""
    for path in sys.argv[1:] or [__file__]:
        print(cid_of_file(path), cid_of_file(path, cid_version=1, raw_leaves=True), path)


if __name__ == "__main__":
    main()
