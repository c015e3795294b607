"""Files that are sold: opened when a block is asked for, each time with a look at whether it is as it was."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache

from fastmarket.bounded_map import BoundedMap, Eviction
from fastmarket.content.place import FileBlock, FileMoved
from fastmarket.content.stamp import FileStamp
from fastmarket.formats.unixfs.leaf import leaf_frame
from fastmarket.formats.unixfs.profile import CidProfile

# Not followed at the end of the path, nor waited for if it is a pipe by now.
OPEN_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK

_frame = lru_cache(64)(leaf_frame)  # nearly all leaves have the size of a chunk


class OpenDescriptor:
    """A number that is closed when the cache has let it go and nobody reads from it."""

    __slots__ = ("cached", "number", "users")

    def __init__(self, number: int) -> None:
        self.number = number
        self.users = 0
        self.cached = True

    def close_if_unused(self) -> None:
        if not self.users and not self.cached and self.number >= 0:
            os.close(self.number)
            self.number = -1


class OpenFiles:
    """Keeps the files open that were asked for most recently. In one thread."""

    def __init__(self, most: int) -> None:
        self._kept: BoundedMap[int, OpenDescriptor] = BoundedMap(most, eviction=Eviction.LEAST_RECENTLY_USED)

    def take(self, number: int, path: str) -> OpenDescriptor:
        """The file of that number, open until it is given back. Raises OSError."""
        found = self._kept.get(number)
        if found is None:
            found = OpenDescriptor(os.open(path, OPEN_FLAGS))
            for _, evicted in self._kept.put(number, found):
                _let_go(evicted)
        found.users += 1
        return found

    def give_back(self, descriptor: OpenDescriptor) -> None:
        """Ends the use that `take` began."""
        descriptor.users -= 1
        descriptor.close_if_unused()

    def forget(self, number: int) -> None:
        """The next one opens it again."""
        found = self._kept.pop(number)
        if found is not None:
            _let_go(found)

    def close(self) -> None:
        """Closes those that nobody reads from, and the others when they are done."""
        for number in list(self._kept):
            self.forget(number)


def _let_go(descriptor: OpenDescriptor) -> None:
    descriptor.cached = False
    descriptor.close_if_unused()


class ImportedFile:
    """A file as it was imported: an `OpenableFile`."""

    __slots__ = ("_files", "_on_moved", "_profile", "id", "is_moved", "path", "stamp")

    def __init__(
        self,
        number: int,
        path: str,
        stamp: FileStamp,
        profile: CidProfile,
        files: OpenFiles,
        on_moved: Callable[[ImportedFile], None],
    ) -> None:
        self.id = number
        self.path = path
        self.stamp = stamp
        self.is_moved = False
        """Whether it was seen not to be the file that was imported; nothing of it is served then."""
        self._profile = profile
        self._files = files
        self._on_moved = on_moved

    @property
    def size(self) -> int:
        """Its bytes, as they were imported."""
        return self.stamp.size

    def leaf(self, number: int) -> FileBlock:
        """Where the leaf of that number is."""
        offset = number * self._profile.chunk_bytes
        length = max(min(self._profile.chunk_bytes, self.stamp.size - offset), 0)
        return FileBlock(self, offset, length, *_frame(length, self._profile.raw_leaves))

    def is_in_place(self) -> bool:
        """Whether its path leads to the file as it was imported: one stat."""
        if self.is_moved:
            return False
        try:
            status = os.stat(self.path, follow_symlinks=False)
        except OSError:
            self._moved()
            return False
        return self._agrees(status)

    @contextmanager
    def opened(self) -> Iterator[int]:
        """A descriptor of the file that was imported, shared. Raises FileMoved."""
        if self.is_moved:
            raise FileMoved(f"{self.path} is not the file that was imported")
        try:
            taken = self._files.take(self.id, self.path)
        except OSError as error:
            self._moved()
            raise FileMoved(f"cannot read {self.path}: {error.strerror}") from None
        try:
            if not self.is_unmoved(taken.number):
                raise FileMoved(f"{self.path} is not the file that was imported")
            yield taken.number
        finally:
            self._files.give_back(taken)

    def is_unmoved(self, descriptor: int) -> bool:
        """Whether the file behind the descriptor is still as it was imported: one fstat."""
        return not self.is_moved and self._agrees(os.fstat(descriptor))

    def _agrees(self, status: os.stat_result) -> bool:
        if FileStamp.of(status) == self.stamp:
            return True
        self._moved()
        return False

    def _moved(self) -> None:
        if not self.is_moved:
            self.is_moved = True
            self._files.forget(self.id)
            self._on_moved(self)
