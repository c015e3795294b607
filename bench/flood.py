"""What a flood of STOREs costs a node, and what becomes of honest offers meanwhile and after.

    python -m bench.flood [--seconds 10] [--places 40000] [--json FILE]

10,000 identities in four address blocks send single offers, messages of 64, whole batches of 256, forged and
expired ones, as fast as one node answers: its clock is the CPU time that it spent on them, so the node has no
moment of rest. Every 100 messages an honest holder, each in a block of its own, sends an offer for a content
near the node. It begins with the store empty; what refused offers cost is counted once the store is full and
the burst that the node allows itself is over. At last the flood goes on for as long again without honest
offers, and nothing that was acknowledged may be gone.

The node is the shipped one without its sockets: loopback is one address block, which no bench may change.
What a message costs before it reaches the offer protocol is in `bench/bench_wire.py`. Times are CPU time,
beside signature checks in between; a busy machine slows both.
"""

from __future__ import annotations

import json
import sys
import time
from argparse import ArgumentParser
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from itertools import count, cycle, islice
from pathlib import Path
from random import Random
from typing import TypeAlias

from fastmarket.config import KadConfig, OfferConfig
from fastmarket.formats.identity import Identity, PeerId
from fastmarket.kad.engine import Engine
from fastmarket.native.batch import SignedBatch
from fastmarket.offers.model.metadata import FileMetadata
from fastmarket.offers.model.offer import Offer, OfferTerms, Signing, sign_offer, sign_offers
from fastmarket.offers.protocol import OfferProtocol
from fastmarket.offers.wire.messages import Ack, decode_store_reply, encode_store
from fastmarket.offers.wire.verifying import open_offer

NOW = 1_700_000_000.0
IDENTITIES = 10_000
BLOCKS = tuple(bytes((60 + n, 1)) for n in range(4))
Honest: TypeAlias = Iterator[tuple[Offer, bytes]]
"""Offers with the address blocks that they come from."""

EVERY = 100  # messages of the flood for each honest offer
OFFER_BYTES = 672  # of the store for each place, as by default

# Against one signature check: 20 us where that takes 60, as on the machine of docs/performance.md.
MOST_SIGNATURES = 1 / 3
LEAST_ACCEPTED = 0.99


def identity(number: int) -> Identity:
    """A key pair out of a number."""
    return Identity.from_seed(sha256(b"flood %d" % number).digest())


def content(name: object) -> bytes:
    """A multihash."""
    return b"\x12\x20" + sha256(f"{name}".encode()).digest()


def terms(name: object, price: int = 0) -> OfferTerms:
    """What is offered."""
    return OfferTerms(content(name), b"u", "someone", FileMetadata("192.0.2.7", 4000, price))


def batch_of(holder: Identity, names: Sequence[object]) -> bytes:
    """A whole batch as it travels."""
    signed = sign_offers(holder, [Signing(terms(name)) for name in names], NOW)[0].signed
    assert isinstance(signed, SignedBatch)
    return signed.data


@dataclass(frozen=True, slots=True)
class Message:
    """A STORE of so many offers, and from where it comes."""

    kind: str
    sender: PeerId
    block: bytes
    body: bytes


@dataclass
class Kind:
    """What messages of one kind cost: those that were refused as a whole, and all."""

    messages: int = 0
    refused_offers: int = 0
    refused_s: float = 0.0
    stored_offers: int = 0
    stored_s: float = 0.0

    def add(self, acks: Sequence[Ack], took_s: float) -> None:
        """One message. The time of one in which some were stored counts for these alone."""
        self.messages += 1
        stored = acks.count(Ack.STORED)
        if stored:
            self.stored_offers += stored
            self.stored_s += took_s
        else:
            self.refused_offers += len(acks)
            self.refused_s += took_s

    @property
    def refused_us(self) -> float:
        """CPU for each refused offer."""
        return 1e6 * self.refused_s / max(self.refused_offers, 1)


@dataclass
class Flooded:
    """A node under flood. `now`: its clock, which goes as it works."""

    places: int
    now: float = NOW
    burst_s: float = 0.0
    check_count: int = 0
    checks_s: float = 0.0
    kinds: dict[str, Kind] = field(default_factory=dict)
    offered: list[Offer] = field(default_factory=list)
    accepted: list[Offer] = field(default_factory=list)

    def __post_init__(self) -> None:
        me = identity(0)
        config = OfferConfig(max_offers=self.places, max_stored_bytes=self.places * OFFER_BYTES)
        engine = Engine(KadConfig(), me.peer_id, now=NOW, entropy=Random(1).randbytes)
        self.key = me.peer_id.key
        self.node = OfferProtocol(me, engine, config)
        self.checked = sign_offer(me, terms("checked"), NOW).envelope

    def send(self, message: Message) -> None:
        """One message of the flood."""
        began = time.process_time()
        reply = self.node.handle_request(message.sender, message.body, self.now, message.block)
        took_s = time.process_time() - began
        self.now += took_s
        self.kinds.setdefault(message.kind, Kind()).add(decode_store_reply(reply).acks, took_s)

    def send_honest(self, offer: Offer, block: bytes) -> None:
        """An offer of a holder, by itself."""
        reply = self.node.handle_request(offer.provider, encode_store([offer.envelope]), self.now, block)
        self.offered.append(offer)
        if decode_store_reply(reply).acks == (Ack.STORED,):
            self.accepted.append(offer)

    def flood(self, messages: Iterator[Message], honest: Honest, seconds: float) -> None:
        """So long by its own clock."""
        end = self.now + seconds
        while self.now < end:
            for _ in range(EVERY):
                self.send(next(messages))
            for offer, block in islice(honest, 1):
                self.send_honest(offer, block)
            self.checks_s += check_signature(self.checked)
            self.check_count += 1

    def fill(self, messages: Iterator[Message], honest: Honest) -> None:
        """Until the store is full and the node refuses for the work. What that cost is not counted."""
        while self.node.work.free(self.now) > 0.3 or len(self.node.store) < 0.9 * self.places:
            self.flood(messages, honest, 0.1)
        self.burst_s = self.now - NOW
        self.kinds.clear()

    @property
    def kept(self) -> int:
        """Accepted honest offers that are still there."""
        return sum(self.node.store.get(offer.key) is not None for offer in self.accepted)


def near(key: bytes, names: Iterator[int]) -> Iterator[bytes]:
    """Contents among the nearest hundredth of all."""
    for name in names:
        one = content(("honest", name))
        if sha256(one).digest()[0] ^ key[0] < 3:
            yield one


def honest_offers(key: bytes) -> Honest:
    """A holder each, in a block of its own."""
    for number, one in enumerate(near(key, count())):
        made = OfferTerms(one, b"u", "someone", FileMetadata("192.0.2.8", 4000, 5))
        yield sign_offer(identity(1_000_000 + number), made, NOW), bytes((100 + number // 250, number % 250))


def flood_messages() -> list[Message]:
    """One of each identity, of all kinds (`_MAKERS`)."""
    random = Random(5)
    messages = []
    for number in range(IDENTITIES):
        holder, block = identity(number + 1), BLOCKS[number % len(BLOCKS)]
        kind, body = _MAKERS[number % len(_MAKERS)](holder, number)
        messages.append(Message(kind, holder.peer_id, block, body))
    random.shuffle(messages)
    return messages


def _single(holder: Identity, number: int) -> tuple[str, bytes]:
    return "single", encode_store([sign_offer(holder, terms(("flood", number)), NOW).envelope])


def _forged(holder: Identity, number: int) -> tuple[str, bytes]:
    envelope = bytearray(sign_offer(holder, terms(("forged", number)), NOW).envelope)
    envelope[-1] ^= 1  # of the signature
    return "forged", encode_store([bytes(envelope)])


def _expired(holder: Identity, number: int) -> tuple[str, bytes]:
    old = sign_offer(holder, terms(("old", number)), NOW - 40 * 3600, lifetime_s=3600)
    return "expired", encode_store([old.envelope])


def _many(holder: Identity, number: int) -> tuple[str, bytes]:
    signed = [sign_offer(holder, terms(("many", number, n)), NOW).envelope for n in range(64)]
    return "64 single", encode_store(signed)


def _batch(holder: Identity, number: int) -> tuple[str, bytes]:
    return "whole batch of 256", encode_store([], [batch_of(holder, [("b", number, n) for n in range(256)])])


def _batched(holder: Identity, number: int) -> tuple[str, bytes]:
    many = [Signing(terms(("p", number, n))) for n in range(200)]
    return "200 of a batch", encode_store([offer.envelope for offer in sign_offers(holder, many, NOW)])


def _shelf(holder: Identity, number: int) -> tuple[str, bytes]:
    return "one content", encode_store([sign_offer(holder, terms("one content"), NOW).envelope])


_MAKERS: Sequence[Callable[[Identity, int], tuple[str, bytes]]] = (
    *(_single,) * 40,
    *(_forged,) * 20,
    *(_expired,) * 10,
    *(_shelf,) * 20,
    *(_batch,) * 8,
    _many,
    _batched,
)


def check_signature(envelope: bytes) -> float:
    """Opens an offer that was never seen; seconds."""
    began = time.process_time()
    open_offer(envelope, NOW)
    return time.process_time() - began


def measure(seconds: float, places: int) -> dict[str, object]:
    """All of it; figures by name."""
    node = Flooded(places)
    messages = cycle(flood_messages())
    honest = honest_offers(node.key)
    node.fill(messages, honest)
    node.flood(messages, honest, seconds)
    during = len(node.accepted) / max(len(node.offered), 1)
    node.flood(messages, iter(()), seconds)
    check_us = 1e6 * node.checks_s / node.check_count
    kinds = node.kinds.values()
    refused = sum(kind.refused_offers for kind in kinds)
    refused_us = 1e6 * sum(kind.refused_s for kind in kinds) / max(refused, 1)
    stored_s = sum(kind.stored_s for kind in kinds)
    return {
        "signature_us": round(check_us, 1),
        "seconds": round(2 * seconds, 1),
        "burst_s": round(node.burst_s, 1),
        "places": places,
        "honest_offered": len(node.offered),
        "honest_accepted": during,
        "honest_kept": node.kept / max(len(node.accepted), 1),
        "flood_offers": refused + sum(kind.stored_offers for kind in kinds),
        "refused_us": round(refused_us, 2),
        "refused_in_signatures": round(refused_us / check_us, 3),
        "stored_share_of_core": round(stored_s / (2 * seconds), 3),
        "kinds": {
            name: asdict(kind)
            | {"refused_us": round(kind.refused_us, 2), "in_signatures": round(kind.refused_us / check_us, 3)}
            for name, kind in sorted(node.kinds.items())
        },
    }


def failures(figures: dict[str, object]) -> list[str]:
    """Which marks were missed."""
    missed = [
        f"{name} is {figures[name]}, at least {LEAST_ACCEPTED} is wanted"
        for name in ("honest_accepted", "honest_kept")
        if float(str(figures[name])) < LEAST_ACCEPTED
    ]
    kinds = figures["kinds"]
    assert isinstance(kinds, dict)
    most = MOST_SIGNATURES
    missed += [
        f"a refused offer ({name}) costs {kind['in_signatures']} signatures, at most {most:.2f} wanted"
        for name, kind in kinds.items()
        if kind["in_signatures"] > most
    ]
    return missed


def main(arguments: Sequence[str]) -> int:
    """Prints the figures; 1 if a mark was missed."""
    parser = ArgumentParser(prog="python -m bench.flood", description="What a flood of STOREs costs a node.")
    parser.add_argument("--seconds", type=float, default=10.0, help="of CPU, twice (10)")
    parser.add_argument("--places", type=int, default=40_000, help="offers that the node keeps (40000)")
    parser.add_argument("--json", type=Path, help="where the figures are written to, too")
    options = parser.parse_args(arguments)
    figures = measure(options.seconds, options.places)
    text = json.dumps(figures, indent=1)
    print(text)
    if options.json is not None:
        options.json.write_text(text + "\n", "utf-8")
    for missed in failures(figures):
        print(missed, file=sys.stderr)
    return bool(failures(figures))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
