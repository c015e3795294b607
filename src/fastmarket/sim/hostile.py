"""A node that lies: acknowledges what it is given and drops it, and answers with its like alone."""

from __future__ import annotations

from fastmarket._sha256 import sha256
from fastmarket.formats.choice import Choice
from fastmarket.formats.identity import PeerId
from fastmarket.kad.messages import Kind, decode_message, encode_reply
from fastmarket.offers.messages import Ack, StoreRequest, decode_request, encode_acks, encode_found
from fastmarket.sim.network import Network
from fastmarket.sim.node import Nature, SimNode


class Conspiracy:
    """All hostile nodes of a network: they know each other, whatever the distance."""

    def __init__(self, network: Network, members: set[int]) -> None:
        self._network = network
        self._members = members
        network.standing.natures.update(dict.fromkeys(members, Nature.HOSTILE))
        network.created = self._enrol

    def answer(self, sender: PeerId, choice: Choice, now: float) -> bytes | None:
        """In the place of the engine's and the offers' answers."""
        if choice.protocol == self._network.offers.protocol:
            request = decode_request(choice.payload, self._network.offers.max_offers_per_store)
            if isinstance(request, StoreRequest):
                return encode_acks([Ack.STORED] * len(request.envelopes))
            return encode_found((), False, self._closer(request.content))
        message = decode_message(choice.payload, 0, 0)
        if message.kind == Kind.ADD_PROVIDER:
            return None
        if message.kind == Kind.PUT_VALUE:
            return choice.payload
        return encode_reply(Kind(message.kind), self._closer(message.key))

    def _enrol(self, node: SimNode) -> None:
        if node.number in self._members:
            node.answer = self.answer

    def _closer(self, key: bytes) -> list[bytes]:
        population, count = self._network.population, self._network.kad.k
        closest = population.closest(sha256(key), count, self._members.__contains__)
        return [population.entries[number] for number in closest]
