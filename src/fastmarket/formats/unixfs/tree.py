"""A directory with all that is below it, built depth first. Sans-IO."""

from __future__ import annotations

from fastmarket.errors import CallerFault
from fastmarket.formats.unixfs.directory import DirectoryBuilder, symlink
from fastmarket.formats.unixfs.importer import DagLink, OnNode
from fastmarket.formats.unixfs.profile import UNIXFS_V0_2015, CidProfile


class TreeBuilder:
    """Takes the entries of a directory, and enters and leaves the directories in it; `leave` of the outermost
    one is the end. `on_node` gets the blocks of directories and symlinks, children before their parents.

    Memory is the entries of the directories that are entered and not left.
    """

    def __init__(self, profile: CidProfile = UNIXFS_V0_2015, on_node: OnNode | None = None) -> None:
        self._profile = profile
        self._on_node = on_node
        self._entered: list[tuple[str, DirectoryBuilder]] = [("", DirectoryBuilder(profile))]
        self.root: DagLink | None = None

    def enter(self, name: str) -> None:
        """What follows is in the directory of that name. Raises CallerFault as `DirectoryBuilder.add` does,
        for a name that is there already not before it is left."""
        self._here()
        self._entered.append((name, DirectoryBuilder(self._profile)))

    def leave(self) -> None:
        """The directory that was entered last is complete; after the outermost one, `root` is there."""
        self._here()
        name, builder = self._entered.pop()
        link = builder.finish(self._on_node)
        if self._entered:
            self._here().add(name, link)
        else:
            self.root = link

    def add(self, name: str, link: DagLink) -> None:
        """A file. Raises CallerFault as `DirectoryBuilder.add` does."""
        self._here().add(name, link)

    def add_symlink(self, name: str, target: str) -> None:
        """A symlink. Raises CallerFault as `symlink` does, too."""
        self._here().add(name, symlink(target, self._profile, self._on_node))

    def _here(self) -> DirectoryBuilder:
        if not self._entered:
            raise CallerFault("name", "the outermost directory is already complete")
        return self._entered[-1][1]
