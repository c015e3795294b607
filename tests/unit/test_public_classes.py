"""Every public class comes through pickle and copy as it was, and shows no secret; the alive say why not."""

from __future__ import annotations

import asyncio
import copy
import dataclasses
import importlib
import inspect
import multiprocessing
import pickle
import pkgutil
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from enum import Enum
from pathlib import Path
from types import ModuleType
from typing import Any

import grpc
import pytest

import fastmarket
from fastmarket import config, errors
from fastmarket.cli.profile import Profile
from fastmarket.cli.settings import SETTINGS, Layer, ServerSettings, resolve
from fastmarket.directories import HashedDirectory, StepKind, TreeStep
from fastmarket.errors import (
    CallerFault,
    FastmarketError,
    LimitExceeded,
    NetworkFault,
    PeerFault,
    QuorumFailed,
)
from fastmarket.formats.block import CidParts
from fastmarket.formats.car import CarSection
from fastmarket.formats.cid import Cid, Codec, named, new_cidv0
from fastmarket.formats.dag_pb import PbLink, PbNode
from fastmarket.formats.envelope import Envelope
from fastmarket.formats.identity import Identity
from fastmarket.formats.key_types import ED25519_BYTES
from fastmarket.formats.multiaddr import Multiaddr, TcpEndpoint, UnknownMultiaddrProtocol
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.formats.peer_record import PeerRecord
from fastmarket.formats.pkcs8 import Pkcs8
from fastmarket.formats.remote_peer import RemotePeer
from fastmarket.formats.unixfs.importer import DagLink
from fastmarket.formats.unixfs.message import NodeKind, UnixfsMessage
from fastmarket.formats.unixfs.node import (
    Child,
    DirectoryEntry,
    DirectoryNode,
    FileNode,
    HamtLink,
    HamtNode,
    SymlinkNode,
)
from fastmarket.formats.unixfs.profile import UNIXFS_V1_2025
from fastmarket.hashing import FileState, HashedFile, cid_of_file
from fastmarket.kad.outcome import Outcome
from fastmarket.live import Live
from fastmarket.market import client_values as values
from fastmarket.market.access import AccessScope, Token
from fastmarket.market.grpc_client import MarketClient
from fastmarket.market.grpc_errors import ServerUnavailable, Status
from fastmarket.net.bridge import DhtClient, DhtServer, FoundFile, bridge
from fastmarket.node import Node
from fastmarket.offers.model.metadata import FileMetadata
from fastmarket.offers.model.offer import OfferTerms, SignedAlone, Signing, sign_offers
from fastmarket.offers.model.refusals import OfferRefused, Refusal
from fastmarket.offers.model.results import NodeView, PeerView
from fastmarket.storage.shared import StoreUrl

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)
SECRET = "geheim" * 6
IDENTITY = Identity.from_seed(SECRET[:ED25519_BYTES].encode())
PEER, KEY = IDENTITY.peer_id, IDENTITY.public_key
ADDR = Multiaddr.from_text("/ip4/192.0.2.1/tcp/4001")
CID = new_cidv0(b"x")
METADATA = FileMetadata("192.0.2.1", 4001, 3, 10, "file")
TERMS = OfferTerms(CID.multihash, b"me", "Ann", METADATA)
OFFERS = sign_offers(IDENTITY, [Signing(TERMS, None, False, 3600.0)], 1_700_000_000.0, 0)
BATCH = sign_offers(
    IDENTITY,
    [
        Signing(OfferTerms(new_cidv0(bytes((i,))).multihash, b"", "", METADATA), None, False, 3600.0)
        for i in range(9)
    ],
    1_700_000_000.0,
    0,
)
HOLDER = values.Holder(b"me", "Ann", "192.0.2.1", 4001, 3, str(PEER), 10, "file", 1_700_000_000)
SEARCH = values.HolderSearch(str(CID), 5, 1)
FILE_STATE = FileState(1, 2, 3, 4, 5)
PEER_INFO = PeerInfo(PEER, (ADDR,))

VALUES: list[object] = [
    *(getattr(config, name)() for name in config.__all__),
    config.FleetConfig(store=f"redis://me:{SECRET}@host:1"),
    config.NodeConfig(fleet=config.FleetConfig(store=f"redis://me:{SECRET}@host:1")),
    CID,
    Cid(1, Codec.RAW, CID.multihash),
    named(str(CID)),
    Pkcs8(b"algorithm", SECRET.encode(), b"public"),
    KEY,
    PEER,
    ADDR,
    TcpEndpoint("ip4", "192.0.2.1", 4001),
    PEER_INFO,
    RemotePeer(PEER, b"block", ADDR),
    PeerRecord(PEER, 7, (ADDR,)),
    Envelope(KEY, b"type", b"payload", PEER),
    DagLink(b"cid", 1, 2),
    FILE_STATE,
    HashedDirectory(CID, 3, 11, 1),
    TreeStep(StepKind.FILE, "path", "name", FILE_STATE),
    HashedFile(CID, 3, FILE_STATE, 11),
    CarSection(b"cid", b"block"),
    CidParts(1, 0x55, 0x12, b"digest"),
    PbLink(b"cid", b"name", 3),
    PbNode((PbLink(b"cid", None, None),), b"data"),
    UnixfsMessage(NodeKind.FILE, b"data", 4),
    FileNode(b"inline", (Child(b"cid", 3),), 9),
    Child(b"cid", 3),
    DirectoryNode((DirectoryEntry("name", b"cid", 3),)),
    DirectoryEntry("name", b"cid", 3),
    HamtNode(256, (HamtLink(1, None, b"cid", 3),)),
    HamtLink(1, "name", b"cid", 3),
    SymlinkNode("target"),
    UNIXFS_V1_2025,
    METADATA,
    TERMS,
    *OFFERS,
    *BATCH,
    SignedAlone(b"payload", b"travelling"),
    Signing(TERMS, OFFERS[0], True, 1.0),
    Outcome(1, 2, 3, 4),
    PeerView(PEER_INFO, "agent", True, 5),
    NodeView((ADDR,), "agent", 1, 2, 3, 4, "server"),
    FoundFile(CID, METADATA, PEER_INFO),
    values.ClientTls(Path("/ca"), Path("/cert"), Path("/key"), "name"),
    HOLDER,
    values.Found((HOLDER,), True),
    values.NodeInfo("id", ("/ip4",), "agent", 1, 2, 3, 4, "server"),
    values.PeerEntry("id", ("/ip4",), "agent", True, 5),
    values.Registered("cid", 1, 2, 3, 4),
    values.Withdrawn("cid", 1, 2, 3),
    values.OwnOffer("cid", HOLDER),
    values.Listing("cid", METADATA, b"me", "Ann"),
    values.RegisterResult("cid", "", 1, 2, 3),
    SEARCH,
    values.SearchResult(SEARCH, (HOLDER,), "message"),
    values.HolderChange((HOLDER,), ()),
    values.RecordPut(1, 2, 3),
    Status(grpc.StatusCode.UNAVAILABLE, "details", (("key", b"value"),)),
    Token(bytes(32), AccessScope.WRITE),
    StoreUrl.parse(f"redis://me:{SECRET}@host:1,other"),
    Profile(token_file=Path("/token")),
    resolve({"store": f"redis://me:{SECRET}@host:1"}, {}, Path("/data")),
]
FAULTS: list[FastmarketError] = [
    PeerFault("reason"),
    PeerFault("reason", protocol="yamux"),
    LimitExceeded("streams", 5),
    LimitExceeded("streams", 5, 6, protocol="yamux"),
    UnknownMultiaddrProtocol(999),
    OfferRefused(Refusal.FULL, "no room"),
    NetworkFault("gone", peer=PEER),
    QuorumFailed(1, 3, 2),
    CallerFault("price", "is negative"),
    ServerUnavailable("gone", peer="127.0.0.1:1"),
]


def sub_classes(kind: type[FastmarketError]) -> Iterator[type[FastmarketError]]:
    for below in kind.__subclasses__():
        if below.__module__.startswith("fastmarket."):
            yield below
            yield from sub_classes(below)


def modules() -> Iterator[ModuleType]:
    """All that define an error or a value that is handed out."""
    for found in pkgutil.walk_packages(fastmarket.__path__, "fastmarket."):
        if not any(part in found.name for part in (".pb", ".sim", "__main__", "._")):
            yield importlib.import_module(found.name)


ALL_MODULES = list(modules())


def fault_of(kind: type[FastmarketError]) -> FastmarketError:
    """One of that class, whatever it is made of."""
    known = next((fault for fault in FAULTS if type(fault) is kind), None)
    if known is not None:
        return known
    if kind.__init__ is FastmarketError.__init__:
        return kind("text")
    arguments: dict[str, Any] = {}
    for name, parameter in inspect.signature(kind).parameters.items():
        if parameter.default is parameter.empty:
            arguments[name] = 7 if "int" in str(parameter.annotation) else f"some {name}"
    return kind(**arguments)


KINDS = sorted({FastmarketError, *sub_classes(FastmarketError)}, key=repr)


def ways() -> Iterator[tuple[str, Callable[[Any], Any]]]:
    for protocol in PROTOCOLS:
        yield f"pickle {protocol}", lambda value, p=protocol: pickle.loads(pickle.dumps(value, p))
    yield "copy", copy.copy
    yield "deepcopy", copy.deepcopy


WAYS = dict(ways())


@pytest.mark.parametrize("fault", [*map(fault_of, KINDS), *FAULTS], ids=lambda fault: type(fault).__name__)
def test_errors_come_through(fault: FastmarketError) -> None:
    fault.add_note("told to whoever reads it")
    for name, way in WAYS.items():
        back = way(fault)
        assert type(back) is type(fault)
        told, was = ((str(one), one.args, vars(one), repr(one)) for one in (back, fault))
        assert told == was, name


def test_every_error_is_met() -> None:
    """Those of other modules, too, and such as are made of something else than a text."""
    assert {kind for kind in vars(errors).values() if inspect.isclass(kind)} <= set(KINDS)
    assert {OfferRefused, UnknownMultiaddrProtocol, ServerUnavailable} <= set(KINDS)


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_values_come_through(value: object) -> None:
    for name, way in WAYS.items():
        back = way(value)
        assert type(back) is type(value), name
        assert back == value, name
        assert repr(back) == repr(value), name


VALUE_MODULES = (
    "config",
    "formats",
    "hashing",
    "directories",
    "market.client_values",
    "market.grpc_errors",
    "net.bridge",
)


def public_values() -> set[type]:
    """Dataclasses and tuples with names, of the modules whose values callers get, and all in `fastmarket`."""
    found = {one for name in fastmarket.__all__ if inspect.isclass(one := getattr(fastmarket, name))}
    for module in ALL_MODULES:
        if module.__name__.removeprefix("fastmarket.").startswith(VALUE_MODULES):
            found |= {
                one
                for name, one in vars(module).items()
                if inspect.isclass(one)
                and one.__module__ == module.__name__
                and not name.startswith("_")
                and (dataclasses.is_dataclass(one) or hasattr(one, "_fields"))
            }
    return found


def test_every_public_value_is_met() -> None:
    """A new one has to be put into the list above."""
    # A row of a table of functions is nobody's value.
    met = {*map(type, VALUES), Identity, MarketClient, Node, DhtServer, DhtClient}
    missing = {one.__name__ for one in public_values() - met}
    assert missing == {"AddrProtocol"}


def test_an_identity_comes_through_and_shows_no_secret() -> None:
    for protocol in PROTOCOLS:
        back = pickle.loads(pickle.dumps(IDENTITY, protocol))
        assert back.to_private_bytes() == IDENTITY.to_private_bytes()
        assert KEY.verify(b"message", back.sign(b"message"))
    assert copy.copy(IDENTITY) is copy.deepcopy(IDENTITY) is IDENTITY
    assert repr(IDENTITY) == str(IDENTITY) == f"Identity({PEER})"


def test_no_secret_is_shown() -> None:
    layer = Layer({"store": f"redis://me:{SECRET}@host:1"}, lambda setting: setting.name)
    holding = [value for value in VALUES if isinstance(value, config.FleetConfig | StoreUrl | ServerSettings)]
    assert len(holding) >= 4
    for value in (*VALUES, IDENTITY, layer, *SETTINGS):
        assert SECRET not in repr(value)
        assert SECRET[:ED25519_BYTES] not in repr(value)
        assert SECRET not in str(value)


def test_what_is_alive_says_that_it_cannot_be_copied() -> None:
    async def main() -> None:
        client = MarketClient("127.0.0.1:1", token=SECRET)
        try:
            assert repr(client) == "MarketClient('127.0.0.1:1')"
            here, there = bridge(1, identity=IDENTITY)
            for one in (client, here, there, Node(config.NodeConfig(), IDENTITY)):
                assert isinstance(one, Live)
                assert SECRET not in repr(one)
                for way in WAYS.values():
                    with pytest.raises(TypeError, match=f"a {type(one).__name__} cannot be copied"):
                        way(one)
        finally:
            await client.close()

    asyncio.run(main())


def named(path: str) -> str:
    """In another process."""
    return str(cid_of_file(path))


def test_a_pool_of_processes_hands_an_error_on(tmp_path: Path) -> None:
    """Started afresh: a fork of a process with gRPC in it may hang."""
    path = tmp_path / "file"
    path.write_text("hello world\n")
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        fault = pool.submit(named, str(tmp_path / "none")).exception(30)
        assert isinstance(fault, CallerFault)
        assert (fault.field, "No such file" in fault.reason) == ("file", True)
        assert pool.submit(named, str(path)).result(30).startswith("Qm")


def test_enums_come_through() -> None:
    for module in ALL_MODULES:
        for one in vars(module).values():
            if inspect.isclass(one) and issubclass(one, Enum) and one.__module__ == module.__name__:
                for member in one:
                    assert pickle.loads(pickle.dumps(member)) is member
