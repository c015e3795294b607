"""One request on its way between two nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastmarket.errors import PeerFault
from fastmarket.formats.choice import FailureKind
from fastmarket.kad.events import SendRequest
from tests.virtual.conditions import State

if TYPE_CHECKING:
    from tests.virtual.network import VirtualNetwork
    from tests.virtual.node import VirtualNode


class Exchange:
    """Exactly one outcome reaches the sender, if its process still lives."""

    def __init__(self, network: VirtualNetwork, node: VirtualNode, request: SendRequest) -> None:
        self.network = network
        self.node = node
        self.request = request
        self.life = node.lives
        self.is_over = False

    def leave(self) -> None:
        """It is dialled first where there is no connection; then both sides identify each other."""
        network, node, request = self.network, self.node, self.request
        peer_id = request.peer.peer_id
        network.log("send", node, request.request_id)
        network.sent += 1
        network.at(request.deadline, lambda: self.fail(FailureKind.TIMEOUT))
        target = network.nodes.get(peer_id)
        if target is None or not self._is_reachable(target):
            self.fail_later(FailureKind.UNREACHABLE)
        elif target.state is State.DOWN:
            node.connected.discard(peer_id)
            self.fail_later(FailureKind.GONE)
        elif target.state is State.UP:
            delay = network.latency()
            if peer_id not in node.connected:
                dialled, delay = delay * 2, delay * 3
                late = network.conditions.identify_delay_s
                network.after((delay if late else dialled) + late, lambda: network.meet(node, target))
            if not network.is_lost():
                network.after(delay, lambda: self.arrive(target))

    def _is_reachable(self, target: VirtualNode) -> bool:
        node, peer_id = self.node, target.info.peer_id
        if peer_id in node.connected:
            return True
        known = {*self.request.peer.addrs, *node.addresses.addrs(peer_id)}
        return not known.isdisjoint(target.info.addrs)

    def arrive(self, target: VirtualNode) -> None:
        """At the process that is there now."""
        network, node = self.network, self.node
        if target.state is State.DOWN:
            self.fail_later(FailureKind.GONE)
        if target.state is not State.UP:
            return
        choice = next((one for one in self.request.choices if one.protocol in target.protocols), None)
        if choice is None:
            self.fail_later(FailureKind.REFUSED)
            return
        target.served.append(choice.protocol)
        try:
            reply = target.answer(node.info.peer_id, choice.protocol, choice.payload, network.now)
        except PeerFault:
            self.fail_later(FailureKind.RESET)
            return
        if target.core.turn.is_wanted:
            target.turn()
        payload = reply if choice.expects_reply else b""
        if payload is not None and not network.is_lost():
            network.after(network.latency(), lambda: self.succeed(choice.protocol, payload))

    def succeed(self, protocol: str, payload: bytes) -> None:
        """The reply has come."""
        if self._end("reply"):
            self.node.core.handle_reply(self.request.request_id, protocol, payload, self.network.now)
            self.node.turn()

    def fail_later(self, kind: FailureKind) -> None:
        """The failure has to come all the way."""
        self.network.after(self.network.latency(), lambda: self.fail(kind))

    def fail(self, kind: FailureKind) -> None:
        """There will be no reply."""
        if self._end(kind.value):
            self.node.core.handle_failure(self.request.request_id, kind, self.network.now)
            self.node.turn()

    def _end(self, what: str) -> bool:
        if self.is_over:
            return False
        self.is_over = True
        self.network.log(what, self.node, self.request.request_id)
        return self.node.is_up and self.life == self.node.lives
