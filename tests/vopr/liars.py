"""What peers may answer that does not tell the truth."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from random import Random
from typing import TYPE_CHECKING

from fastmarket.config import NodeConfig
from fastmarket.errors import PeerFault
from fastmarket.formats.identity import PeerId
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.kad.wire.messages import Field, encode_peer
from fastmarket.native.batch import SignedBatch
from fastmarket.offers.wire.messages import Ack, StoreRequest, decode_request, encode_acks
from tests.virtual.values import addr_of, peer_info_of

if TYPE_CHECKING:
    from tests.vopr.life import Life

FALSE_PEERS = 20
MAX_REMEMBERED = 64


class Lie(Enum):
    """What a liar does with a request."""

    GARBAGE = "garbage"  # random bytes
    CUT_SHORT = "cut short"  # a first part of the answer
    FLIPPED = "flipped"  # one wrong bit
    CROSSED = "crossed"  # the answer to another request
    STALE = "stale"  # the first answer it ever gave to this request
    FALSE_CLOSER = "false closer"  # peers that do not exist, or that are elsewhere
    FALSE_ACKS = "false acks"  # everything is stored, it says
    REFUSES = "refuses"  # nothing can be stored, it says
    MUTE = "mute"
    RESETS = "resets"


class Liar:
    """The answers of one machine while it lies."""

    def __init__(self, lie: Lie, random: Random, config: NodeConfig) -> None:
        self._lie = lie
        self._random = random
        self._config = config
        self._said: dict[tuple[str, bytes], bytes | None] = {}

    def answer(self, life: Life, sender: PeerId, protocol: str, body: bytes) -> bytes | None:
        """As `Life.answer`. Raises PeerFault."""
        return _ANSWERS[self._lie](self, life, sender, protocol, body)

    def _garbage(self, life: Life, sender: PeerId, protocol: str, body: bytes) -> bytes | None:
        return self._random.randbytes(self._random.randrange(200))

    def _cut_short(self, life: Life, sender: PeerId, protocol: str, body: bytes) -> bytes | None:
        reply = life.respond(sender, protocol, body) or b""
        return reply[: self._random.randrange(len(reply) + 1)]

    def _flipped(self, life: Life, sender: PeerId, protocol: str, body: bytes) -> bytes | None:
        reply = bytearray(life.respond(sender, protocol, body) or b"\0")
        if reply:
            reply[self._random.randrange(len(reply))] ^= 1 << self._random.randrange(8)
        return bytes(reply)

    def _crossed(self, life: Life, sender: PeerId, protocol: str, body: bytes) -> bytes | None:
        self._remember(protocol, body, life.respond(sender, protocol, body))
        return self._random.choice(list(self._said.values()))

    def _stale(self, life: Life, sender: PeerId, protocol: str, body: bytes) -> bytes | None:
        reply = life.respond(sender, protocol, body)
        self._remember(protocol, body, reply)
        return self._said.get((protocol, body), reply)

    def _false_closer(self, life: Life, sender: PeerId, protocol: str, body: bytes) -> bytes | None:
        reply = life.respond(sender, protocol, body) or b""
        if self._is_store(protocol, body) is not None:
            return reply
        for _ in range(self._random.randrange(1, FALSE_PEERS)):
            if self._random.random() < 0.5:
                peer = peer_info_of(self._random.randrange(10_000, 20_000))
            else:  # a machine that exists, said to be elsewhere
                peer = PeerInfo(
                    self._random.choice(life.others()), (addr_of(self._random.randrange(50_000)),)
                )
            reply += encode_peer(Field.CLOSER_PEERS, peer, 1 << 16)
        return reply

    def _false_acks(self, life: Life, sender: PeerId, protocol: str, body: bytes) -> bytes | None:
        count = self._is_store(protocol, body)
        return life.respond(sender, protocol, body) if count is None else encode_acks([Ack.STORED] * count)

    def _refuses(self, life: Life, sender: PeerId, protocol: str, body: bytes) -> bytes | None:
        count = self._is_store(protocol, body)
        return life.respond(sender, protocol, body) if count is None else encode_acks([Ack.FULL] * count)

    def _mute(self, life: Life, sender: PeerId, protocol: str, body: bytes) -> bytes | None:
        return None

    def _resets(self, life: Life, sender: PeerId, protocol: str, body: bytes) -> bytes | None:
        raise PeerFault("no reason")

    def _remember(self, protocol: str, body: bytes, reply: bytes | None) -> None:
        if len(self._said) < MAX_REMEMBERED:
            self._said.setdefault((protocol, body), reply)

    def _is_store(self, protocol: str, body: bytes) -> int | None:
        """How many offers are to be stored; None: it is another request."""
        if protocol != self._config.offers.protocol:
            return None
        request = decode_request(body, self._config.offers.max_offers_per_store)
        if not isinstance(request, StoreRequest):
            return None
        return len(request.envelopes) + sum(SignedBatch(data).count for data in request.whole)


_Answer = Callable[["Liar", "Life", PeerId, str, bytes], "bytes | None"]
_ANSWERS: Mapping[Lie, _Answer] = {
    Lie.GARBAGE: Liar._garbage,
    Lie.CUT_SHORT: Liar._cut_short,
    Lie.FLIPPED: Liar._flipped,
    Lie.CROSSED: Liar._crossed,
    Lie.STALE: Liar._stale,
    Lie.FALSE_CLOSER: Liar._false_closer,
    Lie.FALSE_ACKS: Liar._false_acks,
    Lie.REFUSES: Liar._refuses,
    Lie.MUTE: Liar._mute,
    Lie.RESETS: Liar._resets,
}
