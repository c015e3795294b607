"""What all rows of a run share: sizes, the file that is sold, where things are written, and Kubo."""

from __future__ import annotations

import filecmp
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from bench.get.kubo import NoKubo, built_kubo
from bench.get.nodes import Network
from interop.kubo.conftest import Kubos

GIB = 1 << 30
PIECE_BYTES = 1 << 20


@dataclass
class Setting:
    """One run. `turns`: of each measurement, the best of which counts."""

    directory: Path
    path: Path
    turns: int
    blocks: int
    kubo_program: Path | None
    why_no_kubo: str = ""
    _numbers: Iterator[int] = field(default_factory=count)

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return self.path.stat().st_size

    def per_gib(self, amount: float) -> float:
        """Of one transfer of the file."""
        return amount * GIB / self.size

    @contextmanager
    def network(self) -> Iterator[Network]:
        """Nodes of ours, alone in their network; they and what they wrote are gone at the end."""
        with self.scratch() as directory, ExitStack() as stack:
            yield Network(directory, stack)

    @contextmanager
    def kubos(self) -> Iterator[Kubos]:
        """Daemons likewise. Raises NoKubo."""
        if self.kubo_program is None:
            raise NoKubo(self.why_no_kubo)
        with self.scratch() as directory, ExitStack() as stack:
            yield Kubos(self.kubo_program, directory, stack)

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """An empty directory, deleted at the end."""
        directory = self.directory / str(next(self._numbers))
        directory.mkdir()
        try:
            yield directory
        finally:
            delete(directory)

    def check_got(self, path: Path) -> None:
        """What was fetched is what is sold; deletes it. Raises WrongBytes."""
        if not filecmp.cmp(path, self.path, shallow=False):
            raise WrongBytes(f"{path} is not what is sold")
        path.unlink()


class WrongBytes(Exception):
    """A fetch ended well with bytes that are not the content's."""


def delete(directory: Path) -> None:
    """With all in it; nothing below it is a symlink."""
    for folder, _, names in os.walk(directory, topdown=False):
        for name in names:
            (Path(folder) / name).unlink(missing_ok=True)
        Path(folder).rmdir()


def kubo_program() -> tuple[Path | None, str]:
    """Kubo's program; or None, and why."""
    try:
        return built_kubo(), ""
    except NoKubo as reason:
        return None, str(reason)


def write_random(path: Path, size: int) -> None:
    """No two blocks of it are the same, and none can be compressed."""
    with path.open("wb") as file:
        while size > 0:
            file.write(os.urandom(min(size, PIECE_BYTES)))
            size -= PIECE_BYTES
