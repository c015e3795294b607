"""ADD_PROVIDER and GET_PROVIDERS over a network, and what a node does unasked."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fastmarket.config import KadConfig, NodeConfig
from fastmarket.errors import CallerFault
from fastmarket.formats.identity import PeerId
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.kad.maintenance import JITTER, Own
from fastmarket.kad.providers.find_providers import FindProvidersResult
from fastmarket.kad.records.put_job import PutResult
from tests.virtual import State, VirtualNetwork, VirtualNode

KEY = b"\x12\x20" + bytes(32)
HOUR = 3600.0


def provide(node: VirtualNode) -> PutResult:
    result = node.run_job(node.engine.provide(KEY, node.network.now))
    assert isinstance(result, PutResult)
    return result


def providers(node: VirtualNode, limit: int | None = None) -> set[PeerId]:
    result = node.run_job(node.engine.find_providers(KEY, node.network.now, limit))
    assert isinstance(result, FindProvidersResult)
    return {peer.peer_id for peer in result.providers}


def test_every_provider_is_found_from_everywhere() -> None:
    network = VirtualNetwork(1)
    nodes = network.grow(30)
    for node in nodes[:5]:
        result = provide(node)
        assert (result.outcome.acknowledged, result.outcome.is_reached) == (20, True)
    wanted = {node.info.peer_id for node in nodes[:5]}
    for node in nodes:
        assert providers(node) == wanted
    assert len(providers(nodes[20], limit=2)) >= 2
    job_id = nodes[29].start_job(nodes[29].engine.find_providers(KEY, network.now))
    network.run(lambda: job_id in nodes[29].finished)
    items = [item for item in nodes[29].progress[job_id] if isinstance(item, PeerInfo)]
    assert {(item.peer_id, item.addrs) for item in items} == {
        (node.info.peer_id, node.info.addrs) for node in nodes[:5]
    }


def test_without_an_address_nothing_is_announced() -> None:
    network = VirtualNetwork(2)
    nodes = network.grow(4)
    nodes[1].engine.set_local_addrs([])
    result = provide(nodes[1])
    assert (result.outcome.acknowledged, result.outcome.asked) == (0, 0)
    assert providers(nodes[2]) == set()


@pytest.mark.parametrize("key", [b"", b"k" * 81])
def test_keys_are_checked(key: bytes) -> None:
    engine = VirtualNetwork(3).add().engine
    with pytest.raises(CallerFault, match="key"):
        engine.provide(key, 0.0)
    with pytest.raises(CallerFault, match="key"):
        engine.find_providers(key, 0.0)


class TestUnasked:
    def test_announcements_outlive_their_ttl_while_the_node_does(self) -> None:
        config = replace(KadConfig(), refresh_interval_s=10 * HOUR)
        network = VirtualNetwork(4, config=NodeConfig(kad=config))
        nodes = network.grow(4)
        provide(nodes[0])
        nodes[0].run_job(nodes[0].engine.put_value(b"mine", b"value", network.now))
        network.rest(100 * HOUR)
        assert providers(nodes[2]) == {nodes[0].info.peer_id}
        assert nodes[3].engine.handlers.records.get(b"mine", network.now) is not None

    def test_what_is_not_announced_again_expires_and_is_swept(self) -> None:
        config = replace(KadConfig(), refresh_interval_s=10 * HOUR)
        network = VirtualNetwork(5, config=NodeConfig(kad=config))
        nodes = network.grow(4)
        provide(nodes[0])
        nodes[0].run_job(nodes[0].engine.put_value(b"mine", b"value", network.now))
        assert nodes[0].engine.unpublish(Own.PROVIDER, KEY)
        assert nodes[0].engine.unpublish(Own.VALUE, b"mine")
        assert not nodes[0].engine.unpublish(Own.VALUE, b"mine")
        network.rest(47 * HOUR)
        assert len(nodes[1].engine.handlers.providers) == 1
        network.rest(2 * HOUR)
        assert len(nodes[1].engine.handlers.providers) == 0
        assert len(nodes[1].engine.handlers.records) == 0
        assert nodes[1].engine.handlers.records.size_bytes == 0

    def test_an_announcement_nobody_took_is_tried_again_soon(self) -> None:
        network = VirtualNetwork(6)
        node = network.add()
        provide(node)
        other = network.add()
        network.meet(node, other)
        config = network.config.kad
        network.rest(config.republish_interval_s * (1 + JITTER))
        assert providers(other) == {node.info.peer_id}

        late = network.add()
        late.engine.maintenance.publish(Own.PROVIDER, b"k", b"", network.now)
        late.turn()
        network.rest(config.republish_interval_s * (1 + JITTER))
        assert late.engine.handlers.providers.providers(b"k", network.now)
        network.meet(late, other)
        network.rest(config.republish_retry_s * (1 + JITTER) + 5)
        assert other.engine.handlers.providers.providers(b"k", network.now)

    def test_the_table_is_refreshed(self) -> None:
        """A node that stands aside learns of a newcomer though neither talks to the other by itself."""
        network = VirtualNetwork(7)
        nodes = network.grow(3)
        newcomer = network.add()
        newcomer.core.is_joining = True  # or it would look around at once
        network.meet(newcomer, nodes[0])
        assert newcomer.info.peer_id not in nodes[2].known
        network.rest(network.config.kad.refresh_interval_s * (1 + JITTER) + 5)
        assert newcomer.info.peer_id in nodes[2].known

    def test_nodes_do_not_act_in_step(self) -> None:
        network = VirtualNetwork(8)
        timers = {network.add().engine.next_timer() for _ in range(20)}
        assert len(timers) == 20

    def test_background_work_leaves_room(self) -> None:
        network = VirtualNetwork(9)
        nodes = network.grow(4)
        for number in range(30):
            nodes[0].engine.maintenance.publish(Own.PROVIDER, b"k%d" % number, b"", network.now)
        nodes[0].turn()
        for node in nodes[1:]:
            node.state = State.SILENT
        most = 0
        while network.now < nodes[0].engine.maintenance._config.republish_interval_s * 1.2 + 1_700_000_000:
            network.rest(60.0)
            most = max(most, len(nodes[0].engine.jobs))
        assert 0 < most <= network.config.kad.max_background_jobs + 1  # and a refresh

    def test_too_many_own_keys(self) -> None:
        network = VirtualNetwork(10, config=NodeConfig(kad=replace(KadConfig(), max_published=2)))
        engine = network.add().engine
        for key in (b"1", b"2", b"2"):
            engine.provide(key, network.now)
        with pytest.raises(CallerFault):
            engine.provide(b"3", network.now)


def test_a_foreign_better_value_ends_our_announcements() -> None:
    """A rule may find what came from elsewhere better than what we publish."""

    class Newest:
        def validate(self, key: bytes, value: bytes, now: float) -> None:
            """Anything."""

        def select(self, key: bytes, values: list[bytes]) -> int:
            return values.index(max(values))

        def replaces(self, key: bytes, new: bytes, old: bytes) -> bool:
            return new > old

    network = VirtualNetwork(11, config=NodeConfig(kad=replace(KadConfig(), refresh_interval_s=100 * HOUR)))
    nodes = network.grow(3)
    for node in nodes:
        node.engine._rules = node.engine.handlers._rules = {b"n": Newest()}  # type: ignore[dict-item]
    nodes[0].run_job(nodes[0].engine.put_value(b"/n/k", b"1", network.now))
    nodes[1].run_job(nodes[1].engine.put_value(b"/n/k", b"2", network.now))
    network.rest(30 * HOUR)
    assert nodes[0].engine.maintenance.own(Own.VALUE) == []
    assert nodes[1].engine.maintenance.own(Own.VALUE) == [b"/n/k"]
