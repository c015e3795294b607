"""The routing table on disk: `peers.json`, replaced as a whole, readable by people.

It holds nothing that the network cannot tell again. So a file that cannot be read is named in the log and put
aside, and the node starts without.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from fastmarket.config import StorageConfig
from fastmarket.errors import CallerFault, PeerFault, StorageFault
from fastmarket.faults import Faults
from fastmarket.formats.identity import PeerId
from fastmarket.formats.multiaddr import Multiaddr
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.kad.routing.peer_cache import CachedPeer
from fastmarket.repeating import Repeating
from fastmarket.storage.watch import FileWatch, Misplaced

log = logging.getLogger(__name__)

FILE = "peers.json"
FORMAT = 1
# 512 peers with 16 addresses of 100 characters each; what is longer is not written, and not read.
MAX_FILE_BYTES = 1 << 20
MAX_PEERS = 4096
MAX_ADDRS = 64
_BETWEEN = ",\n"


class PeerFile:
    """The saved peers of one data directory. Any thread may use it, one at a time."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / FILE
        self._watch = FileWatch(directory)  # another directory in its place may be another node's

    def read(self) -> list[CachedPeer]:
        """What was saved; nothing where there is no file, or one that cannot be read, which is logged."""
        try:
            with self.path.open("rb") as file:
                content = file.read(MAX_FILE_BYTES + 1)
        except FileNotFoundError:
            return []
        except OSError as error:
            log.error("cannot read %s (%s); starting without the peers in it", self.path, error.strerror)
            return []
        try:
            peers, bad = _decode(content)
        except ValueError as error:
            aside = self.path.with_name(FILE + ".damaged")
            with suppress(OSError):
                self.path.replace(aside)
            log.error("%s cannot be read (%s); put aside as %s", self.path, error, aside.name)
            return []
        if bad:
            log.warning("%d peers in %s make no sense and are left out", bad, self.path)
        return peers

    def write(self, peers: Sequence[CachedPeer]) -> None:
        """All of them, in the place of what was saved before; the old or the new file survives a crash.

        Raises StorageFault.
        """
        try:
            self._watch.check()
        except Misplaced as fault:
            raise StorageFault(f"cannot write {self.path}: {fault}") from None
        aside = self.path.with_name(f".{FILE}.new")
        try:
            descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(_encode(peers))
                file.flush()
                os.fsync(file.fileno())
            aside.replace(self.path)
        except OSError as error:
            raise StorageFault(f"cannot write {self.path}: {error.strerror}") from None


class PeerSaver:
    """Writes the peers when they have changed, looking every `peers_interval_s`, and at the end."""

    def __init__(
        self, file: PeerFile, config: StorageConfig, snapshot: Callable[[], Sequence[CachedPeer]]
    ) -> None:
        self._file = file
        self._snapshot = snapshot
        self._written: frozenset[PeerInfo] = frozenset()
        self._failing = False
        self._thread = ThreadPoolExecutor(1, "fastmarket-peers")  # one write after the other
        self._most = self._looks = max(1, round(config.peers_rewrite_s / config.peers_interval_s))
        self._looking = Repeating("saving peers", lambda: config.peers_interval_s, self._look, Faults())
        self._looking.start()

    async def close(self) -> None:
        """Writes for the last time."""
        await self._looking.stop()
        peers = self._snapshot()
        if peers:
            await self._write(peers)
        self._thread.shutdown(wait=False)

    async def _look(self) -> None:
        self._looks += 1
        peers = self._snapshot()
        # Not for each sign of life: when they were seen is written at longer intervals.
        if peers and (self._looks >= self._most or frozenset(saved.info for saved in peers) != self._written):
            self._looks = 0
            await self._write(peers)

    async def _write(self, peers: Sequence[CachedPeer]) -> None:
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._file.write, peers)
        except StorageFault as fault:
            if not self._failing:
                self._failing = True
                log.error("%s; after a restart this node joins by its bootstrap peers alone", fault)
            return
        self._failing = False
        self._written = frozenset(saved.info for saved in peers)


def _encode(peers: Sequence[CachedPeer]) -> bytes:
    """As many of them as fit, from the first on: peers say themselves how long their addresses are."""
    entries: list[str] = []
    room = MAX_FILE_BYTES - len(_document(entries))
    for saved in peers:
        addrs = [str(addr) for addr in saved.info.addrs[:MAX_ADDRS]]
        entry = json.dumps({"id": str(saved.info.peer_id), "addrs": addrs, "seen": int(saved.seen)})
        room -= len(entry) + len(_BETWEEN)
        if room < 0:
            break
        entries.append(entry)
    return _document(entries)


def _document(entries: Sequence[str]) -> bytes:
    return f'{{"format": {FORMAT}, "peers": [\n{_BETWEEN.join(entries)}\n]}}\n'.encode()


def _decode(content: bytes) -> tuple[list[CachedPeer], int]:
    """The peers, and how many entries were none. ValueError: it is not such a file."""
    if len(content) > MAX_FILE_BYTES:
        raise ValueError(f"longer than {MAX_FILE_BYTES} bytes")
    try:
        document = json.loads(content)
    except RecursionError:
        raise ValueError("nested too deep") from None
    if not isinstance(document, dict) or not isinstance(document.get("peers"), list):
        raise ValueError("no list of peers")
    if document.get("format") != FORMAT:
        raise ValueError(f"format {document.get('format')!r}, this fastmarket knows {FORMAT}")
    entries = document["peers"][:MAX_PEERS]
    peers = [saved for entry in entries if (saved := _peer(entry)) is not None]
    return peers, len(entries) - len(peers)


def _peer(entry: Any) -> CachedPeer | None:
    try:
        addrs = tuple(Multiaddr.from_text(text) for text in entry["addrs"][:MAX_ADDRS])
        peer_id, seen = PeerId.from_text(entry["id"]), float(entry["seen"])
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, CallerFault, PeerFault):
        return None
    return CachedPeer(PeerInfo(peer_id, addrs), seen) if addrs and math.isfinite(seen) else None
