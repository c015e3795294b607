"""Files of a data directory and beside what is fetched: damaged by disks, crashes, other programs and owners.
A start ends in a fault that names the file, or goes on with all that can be read."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Final, TypeVar

from fastmarket.config import FetchConfig, NodeConfig
from fastmarket.content import database as content_database
from fastmarket.content.catalogue import Catalogue
from fastmarket.errors import CallerFault, NodeFault, StorageFault
from fastmarket.exchange.fetching.history import HolderHistory
from fastmarket.exchange.fetching.holder import HolderEnd, HolderTally
from fastmarket.formats.identity import Identity
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.kad.routing.peer_cache import CachedPeer
from fastmarket.native.batch import SignedBatch
from fastmarket.net.dht_node import DhtNode
from fastmarket.node_parts import disk
from fastmarket.offers.model.metadata import FileMetadata
from fastmarket.offers.model.offer import Offer, OfferTerms, Signing, sign_offers
from fastmarket.offers.store.changes import Change
from fastmarket.storage import database as offer_database
from fastmarket.storage import holders, keys, peers
from fastmarket.storage.database import BatchRow, BatchWrites, OfferDatabase, RecordRow
from fastmarket.storage.unwritten import short_key
from tests.content.shop import shop
from tests.fuzz.damage import Bytes, Damaged, seeds
from tests.fuzz.live import quiet, run
from tests.fuzz.target import Shape, Target
from tests.fuzz.values import ADDRS, ED25519

T = TypeVar("T")
NOW = time.time()
LIFE_S = 86400.0  # of the offers in the database
SINGLES, BATCHED = 6, 5
OFFER_TABLES = {
    "offers": ("key", "own", "withdrawn", "not_after", "signed"),
    "batches": ("number", "own", "not_after", "signed"),
    "dead": ("batch", "slot"),
    "numbers": ("name", "value"),
    "records": ("key", "own", "value", "publisher", "received", "expires"),
}
CONTENT_TABLES = {
    "orders": ("id", "path", "profile", "each_file", "watched", "price", "user_id", "user_name", "finished"),
    "goods": ("id", "path", "ordered", "directory", "prefix", "digest", "size", "blocks", "state"),
    "files": ("id", "path", "profile", "stamp", "prefix", "digest", "tree_bytes", "blocks", "state"),
    "members": ("good", "file"),
    "blocks": ("digest", "owner", "place"),
    "nodes": ("id", "block"),
    "imports": ("file", "path", "profile", "stamp"),
    "dropped": ("owner", "digest"),
}


@contextmanager
def home() -> Iterator[Path]:
    """A directory in memory, and no lines of logs."""
    shm = Path("/dev/shm")
    with quiet(), tempfile.TemporaryDirectory(dir=shm if shm.is_dir() else None) as name:
        yield Path(name)


# -- offers.db


def _offers(names: range, *, seed: int = 0) -> list[Offer]:
    metadata = FileMetadata("192.0.2.7", 4000, 5)
    signings = [
        Signing(OfferTerms(b"\x12\x20" + b"%032d" % name, b"u", "bob", metadata), None, False, LIFE_S)
        for name in names
    ]
    return sign_offers(ED25519[seed], signings, NOW, 0)


@cache
def _offer_file() -> bytes:
    """Own offers and a stranger's, alone and in batches, and values."""
    with home() as directory:
        database = OfferDatabase(directory)
        single = [
            *(_offers(range(at, at + 1))[0] for at in range(3)),
            *(_offers(range(at, at + 1), seed=1)[0] for at in range(3, 6)),
        ]
        rows = [
            (short_key(one.key), int(at < 3), 0, one.not_after, one.envelope) for at, one in enumerate(single)
        ]
        batches = []
        for number in (1, 2):
            made = _offers(range(number * 10, number * 10 + BATCHED), seed=number - 1)
            batch = made[0].signed
            assert isinstance(batch, SignedBatch)
            batches.append(BatchRow(number, number % 2, made[0].not_after, batch.data))
        database.put(rows, None, BatchWrites(batches=batches, dead=[(1, 0), (2, 4)], seq=77))
        database.put_records(
            [RecordRow(b"/pk/%d" % at, bool(at % 2), b"value", b"", NOW, NOW + 9e8) for at in range(4)], NOW
        )
        database.close()
        return (directory / offer_database.FILE).read_bytes()


async def _start(directory: Path, damaged: Damaged) -> int:
    """A node over that directory, from start to end, and another that finds what the first acknowledged."""
    config = NodeConfig()
    (fresh,) = _offers(range(99, 100))
    node = DhtNode(ED25519[0], config)
    try:
        async with disk(node, config.storage, directory) as kept:
            kept.restore(node)
            held = node.offers.store.offer_count
            if not (damaged.is_raw or damaged.is_other):
                lost = damaged.rows.get("offers", 0)
                lost += BATCHED * (damaged.rows.get("batches", 0) + damaged.rows.get("dead", 0))
                assert held >= SINGLES + 2 * (BATCHED - 1) - lost, "an offer that is not damaged is lost"
            node.offers.handle_timer(node.now() + 50)
            try:
                await kept.journal.keep([Change(fresh, True)])
            except StorageFault:
                assert damaged.is_raw or damaged.is_other, "nothing can be written"
                raise
    finally:
        await node.close()
    database = OfferDatabase(directory)
    try:
        assert any(signed == fresh.envelope for signed, _ in database.offers()), "acknowledged, and lost"
    finally:
        database.close()
    return held


def offers_db(data: bytes) -> object:
    with home() as directory:
        path = directory / offer_database.FILE
        damaged = Damaged(_offer_file(), offer_database.PAGE_BYTES, OFFER_TABLES)
        damaged.write(path, Bytes(data))
        before = path.read_bytes()
        try:
            OfferDatabase(directory).close()
        except NodeFault as fault:
            _check_told(str(fault), path, before, damaged)
            raise
        return run(_start(directory, damaged))


def _check_told(said: str, path: Path, before: bytes, damaged: Damaged) -> None:
    assert str(path) in said, "a fault that does not name its file"
    if "was not changed" in said and not damaged.is_other:
        assert _rows(path.read_bytes()) == _rows(before), "it was changed"


def _rows(raw: bytes) -> bytes:
    """But for what tells of the log and of writers."""
    return raw[:18] + raw[20:24] + raw[28:92] + raw[100:]


# -- content.db


class _Goods:
    """Files that are sold, and the database that says so; the files stay."""

    def __init__(self) -> None:
        self._temporary = tempfile.TemporaryDirectory()
        base = Path(self._temporary.name)
        with shop(base) as made:
            (made.files / "alone").write_bytes(bytes(range(256)) * 40)
            (made.files / "many").mkdir()
            for name in ("a", "b"):
                (made.files / "many" / name).write_bytes(name.encode() * 3000)
            self.files = made.files
            self.one = run(made.sold(made.files / "alone"))
            run(made.sell(made.files / "many", watched=False))
            with made.catalogue.database.reading() as connection:
                digests = [row[0] for row in connection.execute("SELECT digest FROM blocks")]
                connection.execute("INSERT INTO imports VALUES (77, x'2f78', 'unixfs-v0-2015', x'00')")
                connection.execute("INSERT INTO dropped VALUES (88, zeroblob(32))")
        self.blocks = [b"\x12\x20" + digest for digest in digests]
        self.raw = (base / "data" / content_database.FILE).read_bytes()


@cache
def _goods() -> _Goods:
    return _Goods()


def content_db(data: bytes) -> object:
    goods = _goods()
    with home() as directory:
        (directory / "data").mkdir()
        path = directory / "data" / content_database.FILE
        damaged = Damaged(goods.raw, content_database.PAGE_BYTES, CONTENT_TABLES)
        damaged.write(path, Bytes(data))
        try:
            with shop(directory) as made:
                served = _serve(made.catalogue, goods)
                if not (damaged.rows or damaged.is_raw or damaged.is_other):
                    assert served == len(goods.blocks), "a block that is not damaged is lost"
                made.look(all_files=True)
                made.catalogue.tidy_scratch()
                fresh = made.files / "fresh"
                fresh.write_bytes(data)
                sold = run(made.sold(fresh))
                assert sold.cid is not None
                assert made.catalogue.file_of(sold.cid) is not None, "sold, and not served"
                made.catalogue.remove(path=str(goods.files / "many"))
                return served
        except (NodeFault, CallerFault):
            assert damaged.rows or damaged.is_raw or damaged.is_other, "refused without damage"
            raise


def _serve(catalogue: Catalogue, goods: _Goods) -> int:
    """All that callers and buyers ask of a catalogue; how many blocks it has."""
    catalogue.goods()
    catalogue.count()
    catalogue.orders()
    assert goods.one.cid is not None
    catalogue.goods_of(goods.one.cid.multihash)
    catalogue.file_of(goods.one.cid)
    served = 0
    for multihash in goods.blocks:
        block = catalogue.read(multihash)
        assert block is None or isinstance(block, bytes)
        served += block is not None
    return served


# -- other files of a data directory


def in_file(name: str, data: bytes, read: Callable[[Path], T]) -> T:
    """What reading gives of a directory with that file in it."""
    with home() as directory:
        (directory / name).write_bytes(data)
        os.chmod(directory / name, 0o600)
        return read(directory)


def peer_file(data: bytes) -> object:
    """Read, and if it was read written again: then it is the same."""

    def read(directory: Path) -> object:
        file = peers.PeerFile(directory)
        found = file.read()
        file.write(found)
        again = file.read()
        assert [one.info for one in again] == [one.info for one in found], "does not round-trip"
        assert not (directory / peers.FILE).with_name(f".{peers.FILE}.new").exists()
        return found

    return in_file(peers.FILE, data, read)


def _peer_files() -> list[bytes]:
    with home() as directory:
        file = peers.PeerFile(directory)
        file.write([CachedPeer(PeerInfo(one.peer_id, ADDRS[:4]), NOW) for one in ED25519])
        whole = (directory / peers.FILE).read_bytes()
    return [
        whole,
        b'{"format": 1, "peers": []}',
        b"[" * 2000,
        b'{"format":1,"peers":[{"id":1,"addrs":{},"seen":null}]}',
    ]


def holder_file(data: bytes) -> object:
    """Whatever it has, nothing that is asked of it later raises."""

    def read(directory: Path) -> object:
        history = holders.HolderFile(directory).read(FetchConfig())
        for when in (0.0, NOW, NOW * 1e6):
            for one in ED25519:
                history.standing(one.peer_id.raw, when)
        tally = HolderTally(1, 0, 10, 0, 1, 0, 0, 0, 1.0, 1.0, 0, None)
        history.record(ED25519[0].peer_id.raw, tally, NOW)
        assert len(HolderHistory.from_bytes(history.to_bytes(), FetchConfig())) == len(history)
        return len(history)

    return in_file(holders.FILE, data, read)


def _history() -> bytes:
    history = HolderHistory(FetchConfig())
    for number, one in enumerate(ED25519):
        tally = HolderTally(number, 0, 1000, 0, 3, 1, 1, 0, 1e6, 0.05, 0, HolderEnd.BUSY)
        history.record(one.peer_id.raw, tally, NOW)
    return history.to_bytes()


def key_file(data: bytes) -> object:
    def read(directory: Path) -> Identity:
        found = keys.load_or_create_identity(directory)
        assert (directory / keys.KEY_FILE).read_bytes() == data, "a key was overwritten"
        return found

    found = in_file(keys.KEY_FILE, data, read)
    assert keys.import_identity(keys.export_identity(found)).peer_id == found.peer_id
    return found


SECRET: Final = "word"
CHEAP: Final = {"iteration_count": 2, "block_size": 1, "parallelization": 1, "salt_size": 8}
PROTECTIONS: Final = (
    "PBKDF2WithHMAC-SHA1AndDES-EDE3-CBC",
    "PBKDF2WithHMAC-SHA512AndAES256-CBC",
    "scryptAndAES256-CBC",
    "scryptAndAES128-GCM",
)


def sealed_key(data: bytes) -> object:
    """What an owner brings, closed with a passphrase: PEM, or the DER that it stands for."""
    pem = data if data.startswith(b"-----") else keys._pem(data, keys._ENCRYPTED_PKCS8)
    return keys.import_identity(pem, SECRET).peer_id


def _sealed_keys() -> list[bytes]:
    from Crypto.IO import PEM, PKCS8

    inner = ED25519[0].to_pkcs8()
    oid, key, _ = PKCS8.unwrap(inner)
    sealed = [
        PKCS8.wrap(key, oid, SECRET.encode(), protection, CHEAP, key_params=None)
        for protection in PROTECTIONS
    ]
    old = PEM.encode(inner, "PRIVATE KEY", SECRET.encode())
    return [*sealed, keys.export_identity(ED25519[0], SECRET), old.encode()]


def _keys() -> list[bytes]:
    found = [keys.export_identity(one) for one in ED25519[:2]]
    empty = b"-----BEGIN EC PRIVATE KEY-----\n-----END EC PRIVATE KEY-----\n"
    return [*found, b"-----BEGIN EC PARAMETERS-----\nBg==\n-----END EC PARAMETERS-----\n" + found[0], empty]


TARGETS: tuple[Target, ...] = (
    Target(
        "offers-db",
        "fastmarket.storage.database.OfferDatabase",
        lambda: seeds(OFFER_TABLES),
        offers_db,
        (NodeFault,),
        Shape.BYTES,
        longest=128,
        spare_bytes=8 << 20,
    ),
    Target(
        "content-db",
        "fastmarket.content.catalogue.Catalogue",
        lambda: seeds(CONTENT_TABLES),
        content_db,
        (NodeFault, CallerFault),
        Shape.BYTES,
        longest=128,
        spare_bytes=8 << 20,
    ),
    Target(
        "peer-file",
        "fastmarket.storage.peers.PeerFile.read",
        _peer_files,
        peer_file,
        (),
        Shape.JSON,
        spare_bytes=4 << 20,
    ),
    Target(
        "holder-file",
        "fastmarket.storage.holders.HolderFile.read",
        lambda: [_history()],
        holder_file,
        (),
        Shape.BYTES,
        spare_bytes=2 << 20,
    ),
    Target(
        "key-file",
        "fastmarket.storage.keys.load_or_create_identity",
        _keys,
        key_file,
        (NodeFault,),
        Shape.BYTES,
        spare_bytes=1 << 20,
    ),
    Target(
        "sealed-key",
        "fastmarket.storage.keys.import_identity",
        _sealed_keys,
        sealed_key,
        (CallerFault,),
        Shape.BYTES,
        spare_bytes=40 << 20,
        max_cpu_s=1.0,
    ),
)
