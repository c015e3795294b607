"""The routing table on disk: `peers.json`, replaced as a whole, readable by people.

It contains only what the network can provide again. So an unreadable file is logged and moved aside, and the
node starts without it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
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
from fastmarket.storage.whole_file import LOCAL_FILES, FileSystem, WholeFile
from fastmarket.wording import counted

log = logging.getLogger(__name__)

FILE = "peers.json"
FORMAT = 1
# 512 peers with 16 addresses of 100 characters each; anything beyond is neither written nor read.
MAX_FILE_BYTES = 1 << 20
MAX_PEERS = 4096
MAX_ADDRS = 64
_BETWEEN = ",\n"


class PeerFile:
    """The saved peers of one data directory. Usable from any thread, one at a time."""

    def __init__(self, directory: Path, system: FileSystem = LOCAL_FILES) -> None:
        self._file = WholeFile(directory, FILE, MAX_FILE_BYTES, system)
        self.path = self._file.path

    def read(self) -> list[CachedPeer]:
        """The saved peers; empty if there is no file, or if it cannot be read, which is logged."""
        try:
            content = self._file.read()
        except OSError as error:
            log.error("cannot read %s (%s); starting without its peers", self.path, error.strerror)
            return []
        if content is None:
            return []
        try:
            peers, bad = _decode(content)
        except ValueError as error:
            log.error("cannot read %s (%s); moved aside as %s", self.path, error, self._file.move_aside())
            return []
        if bad:
            log.warning("skipped %s in %s", counted(bad, "invalid peer"), self.path)
        return peers

    def write(self, peers: Sequence[CachedPeer]) -> None:
        """Replaces the file; the old or the new one survives a crash. Raises StorageFault."""
        self._file.write(_encode(peers))


class PeerSaver:
    """Writes the peers when they have changed, checking every `peers_interval_s`, and at shutdown."""

    def __init__(
        self, file: PeerFile, config: StorageConfig, snapshot: Callable[[], Sequence[CachedPeer]]
    ) -> None:
        self._file = file
        self._snapshot = snapshot
        self._written: frozenset[PeerInfo] = frozenset()
        self._failing = False
        self._thread = ThreadPoolExecutor(1, "fastmarket-peers")  # one write at a time
        self._most = self._looks = max(1, round(config.peers_rewrite_s / config.peers_interval_s))
        self._looking = Repeating("saving peers", lambda: config.peers_interval_s, self._look, Faults())
        self._looking.start()

    async def close(self) -> None:
        """Writes a last time."""
        await self._looking.stop()
        peers = self._snapshot()
        if peers:
            await self._write(peers)
        self._thread.shutdown(wait=False)

    async def _look(self) -> None:
        self._looks += 1
        peers = self._snapshot()
        # Changed times of last contact alone do not cause a write; they are written at longer intervals.
        if peers and (self._looks >= self._most or frozenset(saved.info for saved in peers) != self._written):
            self._looks = 0
            await self._write(peers)

    async def _write(self, peers: Sequence[CachedPeer]) -> None:
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._file.write, peers)
        except StorageFault as fault:
            if not self._failing:
                self._failing = True
                log.error("%s; after a restart this node can join only through its bootstrap peers", fault)
            return
        self._failing = False
        self._written = frozenset(saved.info for saved in peers)


def _encode(peers: Sequence[CachedPeer]) -> bytes:
    """As many of them as fit, in order: peers themselves decide how long their addresses are."""
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
    """The peers, and the number of invalid entries. Raises ValueError if it is not such a file."""
    if len(content) > MAX_FILE_BYTES:
        raise ValueError(f"it is longer than {MAX_FILE_BYTES} bytes")
    try:
        document = json.loads(content)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(document, dict) or not isinstance(document.get("peers"), list):
        raise ValueError("it has no list of peers")
    if document.get("format") != FORMAT:
        raise ValueError(f"its format is {document.get('format')!r}, this fastmarket supports {FORMAT}")
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
