"""Which paths callers may sell: real ones, below the directories that are allowed, never the node's own."""

from __future__ import annotations

import os
from collections.abc import Iterable

from fastmarket.errors import CallerFault, Forbidden, NoSuchGood

MAX_PATH_BYTES = 4096  # PATH_MAX of Linux


class AllowedPaths:
    """The directories below which callers may sell. Whether a caller may sell from all others, if there is
    none, depends on where it calls from, and is decided there."""

    def __init__(self, directories: Iterable[str], never: Iterable[str] = ()) -> None:
        """`never`: paths that are not sold whatever is allowed, as the data directory with the node's key.

        Raises CallerFault("allow-path", ...) for what is not an absolute path of a directory.
        """
        self.directories = tuple(map(_directory, directories))
        self._never = tuple(map(os.path.realpath, never))

    def check(self, path: str) -> str:
        """The real path, without symlinks. Raises Forbidden if that may not be sold, NoSuchGood if there is
        no such path, and CallerFault for what is not an absolute path, always with the path."""
        shown = shown_path(path)
        if not os.path.isabs(path) or "\0" in path:
            raise CallerFault("path", f"{shown} is not an absolute path")
        try:
            encoded = os.fsencode(path)
        except UnicodeEncodeError:
            raise CallerFault("path", f"{shown} is not a path") from None
        if len(encoded) > MAX_PATH_BYTES:
            raise CallerFault("path", f"is longer than {MAX_PATH_BYTES} bytes")
        real = os.path.realpath(path)
        # Before anything is said about what is there.
        self._check(real, shown)
        try:
            return os.path.realpath(path, strict=True)
        except FileNotFoundError:
            raise NoSuchGood("path", f"{shown}: there is no such file or directory") from None
        except OSError as error:
            raise CallerFault("path", f"{shown}: {error.strerror}") from None

    def check_real(self, real: str) -> None:
        """Raises Forbidden if what is at that real path may not be sold."""
        self._check(real, "")

    def _check(self, real: str, shown: str) -> None:
        """`shown`: how the caller names it, who need not know where that leads."""
        if real == os.sep:
            raise Forbidden("path", f"{real} may not be sold: it is the whole file system")
        if self.directories and not any(is_within(real, directory) for directory in self.directories):
            why = "it is not below an --allow-path"
        elif any(is_within(real, directory) for directory in self._never):
            why = "it belongs to the node itself"
        else:
            return
        raise Forbidden("path", f"{shown or shown_path(real)} may not be sold: {why}")


def is_within(path: str, directory: str) -> bool:
    """Whether a real path is the directory, or below it."""
    return path == directory or path.startswith(directory.rstrip(os.sep) + os.sep)


def shown_path(path: str) -> str:
    """The path as text that any reader accepts: bytes that are not UTF-8 as `\\xNN`."""
    try:
        return os.fsencode(path).decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # a text that no path has
        return path.encode("utf-8", "replace").decode()


def _directory(path: str) -> str:
    if not os.path.isabs(path):
        raise CallerFault("allow-path", f"{path} is not an absolute path")
    real = os.path.realpath(path)
    if not os.path.isdir(real):
        raise CallerFault("allow-path", f"{path} is not a directory")
    return real
