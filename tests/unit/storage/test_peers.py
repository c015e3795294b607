"""The file of peers: whole or not there, and never in the way of a start."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from dataclasses import replace
from pathlib import Path

import pytest

from fastmarket.config import StorageConfig
from fastmarket.errors import StorageFault
from fastmarket.formats.identity import PeerId
from fastmarket.formats.multiaddr import Multiaddr
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.kad.routing.peer_cache import CachedPeer
from fastmarket.storage import peers as module
from fastmarket.storage.peers import PeerFile, PeerSaver
from tests.conftest import Run


def saved(number: int) -> CachedPeer:
    addrs = tuple(Multiaddr.from_text(f"/ip4/127.0.0.1/tcp/{4000 + number}{tail}") for tail in ("", "/ws"))
    return CachedPeer(PeerInfo(PeerId.from_bytes(b"\x12\x20" + bytes([number] * 32)), addrs), 1000.0 + number)


PEERS = [saved(number) for number in range(20)]


def test_what_is_written_is_read(tmp_path: Path) -> None:
    file = PeerFile(tmp_path)
    assert file.read() == []
    file.write(PEERS)
    assert PeerFile(tmp_path).read() == PEERS
    assert file.path.stat().st_mode & 0o777 == 0o600
    file.write(PEERS[:3])
    assert file.read() == PEERS[:3]
    assert [path.name for path in tmp_path.iterdir()] == ["peers.json"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b'{"format": 1}',
        b'{"format": 2, "peers": []}',
        b"\xff\xfe\x00",
        b"[" * 100_000,
        b" " * (module.MAX_FILE_BYTES + 1),
    ],
)
def test_a_damaged_file_is_named_and_put_aside(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    file = PeerFile(tmp_path)
    file.path.write_bytes(content)
    assert file.read() == []
    assert str(file.path) in caplog.text
    assert (tmp_path / "peers.json.damaged").read_bytes() == content
    file.write(PEERS)
    assert file.read() == PEERS


def test_every_cut_of_a_file_is_noticed(tmp_path: Path) -> None:
    file = PeerFile(tmp_path)
    file.write(PEERS)
    whole = file.path.read_bytes().rstrip()
    for length in range(0, len(whole), 97):
        file.path.write_bytes(whole[:length])
        assert file.read() == []


def test_entries_that_make_no_sense_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = PeerFile(tmp_path)
    file.write(PEERS[:2])
    document = json.loads(file.path.read_text())
    good = document["peers"][0]
    bad = ({"id": "12D3"}, {"addrs": []}, {"addrs": 7}, {"addrs": ["/ip4/300.0.0.1"]}, {"seen": "x"})
    document["peers"] += [good | change for change in bad] + [None, 7, [], {}, good | {"seen": float("nan")}]
    file.path.write_text(json.dumps(document))
    with caplog.at_level(logging.WARNING):
        assert file.read() == PEERS[:2]
    assert "10 peers" in caplog.text


def test_addresses_beyond_measure_cost_the_last_of_the_peers_their_place(tmp_path: Path) -> None:
    file = PeerFile(tmp_path)
    long = tuple(
        Multiaddr.from_text(f"/dns4/{'x' * 60}.{'y' * 60}.{'z' * 60}.n{number}/tcp/1") for number in range(16)
    )
    many = [CachedPeer(PeerInfo(saved(n % 256).info.peer_id, long), 1.0) for n in range(512)]
    file.write([*PEERS, *many])
    assert file.path.stat().st_size <= module.MAX_FILE_BYTES
    assert file.read()[: len(PEERS)] == PEERS
    assert len(file.read()) > 2 * len(PEERS)


def test_a_file_that_cannot_be_written_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(StorageFault, match=r"peers\.json"):
        PeerFile(tmp_path / "nowhere").write(PEERS)


def test_the_saver_writes_changes_and_at_the_end(run: Run[None], tmp_path: Path) -> None:
    file = PeerFile(tmp_path)
    config = replace(StorageConfig(), peers_interval_s=0.01, peers_rewrite_s=3600.0)
    peers: list[CachedPeer] = []

    async def written(count: int) -> None:
        while not file.path.exists() or len(file.read()) != count:  # noqa: ASYNC110 - a file has no event
            await asyncio.sleep(0.005)

    async def scenario() -> None:
        saver = PeerSaver(file, config, lambda: tuple(peers))
        try:
            peers.append(PEERS[0])
            await written(1)
            before = os.stat(file.path).st_mtime_ns
            peers[0] = replace(PEERS[0], seen=5000.0)  # a sign of life is no reason to write
            peers.append(PEERS[1])
            await written(2)
            assert os.stat(file.path).st_mtime_ns != before
            peers.append(PEERS[2])
        finally:
            await saver.close()
        assert file.read() == peers

    run(scenario())


def test_a_run_that_knows_nobody_leaves_the_file_alone(run: Run[None], tmp_path: Path) -> None:
    file = PeerFile(tmp_path)
    file.write(PEERS)

    async def scenario() -> None:
        await PeerSaver(file, StorageConfig(), tuple).close()

    run(scenario())
    assert file.read() == PEERS


def test_a_full_disk_is_told_once(run: Run[None], tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = PeerFile(tmp_path / "gone")
    config = replace(StorageConfig(), peers_interval_s=0.001)
    looks = 0

    def look() -> tuple[CachedPeer, ...]:
        nonlocal looks
        looks += 1
        return tuple(PEERS)

    async def scenario() -> None:
        saver = PeerSaver(file, config, look)
        while looks < 5:  # noqa: ASYNC110 - it is looked at by a timer of its own
            await asyncio.sleep(0.001)
        await saver.close()

    run(scenario())
    assert caplog.text.count("cannot write") == 1
