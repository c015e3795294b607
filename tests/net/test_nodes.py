"""Nodes over real sockets: joining, knowing each other, values, providers and offers."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from fastmarket.config import NodeConfig
from fastmarket.errors import CallerFault, DialFailed, NotFound, QuorumFailed
from fastmarket.formats.cid import new_cidv0
from fastmarket.formats.identity import PeerId
from fastmarket.formats.multiaddr import Multiaddr
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.net.dht_node import DhtNode
from fastmarket.offers.model.metadata import FileMetadata
from fastmarket.offers.model.offer import OfferTerms
from tests.conftest import Run
from tests.net.loopback import DEADLINE_S, identity, nodes, seed, until

CONTENT = new_cidv0(b"a file").multihash
METADATA = FileMetadata("192.0.2.7", 9000, 5)


def known(node: DhtNode) -> dict[PeerId, tuple[Multiaddr, ...]]:
    return {contact.info.peer_id: contact.info.addrs for contact in node.engine.contacts()}


async def joined(others: list[DhtNode], first: DhtNode) -> None:
    await asyncio.gather(*(node.bootstrap([seed(first)], DEADLINE_S) for node in others))


def test_two_nodes_meet_and_know_listen_addresses(run: Run[None]) -> None:
    async def scenario() -> None:
        async with nodes(2) as (a, b):
            result = await b.bootstrap([seed(a)], DEADLINE_S)
            assert result.peer == a.peer_id
            assert result.remaining == 0
            # The listen address, never the port the dialer happened to come from.
            assert known(a) == {b.peer_id: b.host.listen_addrs}
            assert known(b) == {a.peer_id: a.host.listen_addrs}

    run(scenario())


def test_bootstrap_returns_a_usable_node(run: Run[None]) -> None:
    """The race of the first system: bootstrap was over before there was a connection."""

    async def scenario() -> None:
        async with nodes(3) as (a, b, c):
            await b.bootstrap([seed(a)], DEADLINE_S)
            outcome = await b.register_offer(CONTENT, b"u", "bob", METADATA, DEADLINE_S)
            assert outcome.acknowledged >= outcome.wanted >= 1
            await c.bootstrap([seed(a)], DEADLINE_S)
            # Nothing in between: the first thing a fresh node does must succeed.
            found = [offer async for offer in c.find_offers(CONTENT, DEADLINE_S)]
            assert [(offer.user_name, offer.metadata) for offer in found] == [("bob", METADATA)]
            assert {view.peer.peer_id for view in c.peers()} == {a.peer_id, b.peer_id}

    run(scenario())


def test_bootstrap_by_a_dead_peer_fails_and_says_so(run: Run[None]) -> None:
    async def scenario() -> None:
        async with nodes(2) as (a, b):
            dead = seed(a)
            await a.close()
            with pytest.raises(DialFailed, match=str(a.peer_id)):
                await b.bootstrap([dead], DEADLINE_S)

    run(scenario())


def test_bootstrap_counts_the_seeds_that_are_dead(run: Run[None]) -> None:
    async def scenario() -> None:
        async with nodes(3) as (a, b, c):
            dead = seed(a)
            await a.close()
            result = await c.bootstrap([dead, seed(b)], DEADLINE_S)
            assert (result.peer, result.remaining) == (b.peer_id, 1)

    run(scenario())


def test_somebody_else_at_the_address_is_not_the_peer(run: Run[None]) -> None:
    async def scenario() -> None:
        async with nodes(2) as (a, b):
            impostor = PeerInfo(identity(77).peer_id, a.host.listen_addrs)
            with pytest.raises(DialFailed):
                await b.dial(impostor)
            assert b.host.connection_count == 0 or not b.host.peers

    run(scenario())


def test_eight_nodes_that_start_together_all_know_each_other(run: Run[None]) -> None:
    """ "Nodes aren't storing each other's info": after bootstrap every table holds all the others."""

    async def scenario() -> None:
        async with nodes(8) as made:
            await joined(made[1:], made[0])
            addresses = {node.peer_id: node.host.listen_addrs for node in made}
            for node in made:
                expected = {peer: addrs for peer, addrs in addresses.items() if peer != node.peer_id}
                assert known(node) == expected

    run(scenario())


def test_a_value_is_put_with_counts_and_got_from_everywhere(run: Run[None]) -> None:
    """The quorum of the first system failed always: every node refused to serve."""

    async def scenario() -> None:
        async with nodes(8) as made:
            await joined(made[1:], made[0])
            stored = await made[3].put_record(b"greeting", b"hello", deadline_s=DEADLINE_S)
            assert (stored.acknowledged, stored.asked) == (7, 7)
            assert stored.wanted == 4
            for node in made:
                assert await node.get_record(b"greeting", deadline_s=DEADLINE_S) == b"hello"

    run(scenario())


def test_a_quorum_that_cannot_be_met_is_told_with_its_counts(run: Run[None]) -> None:
    async def scenario() -> None:
        async with nodes(3) as (a, b, c):
            await joined([b, c], a)
            with pytest.raises(QuorumFailed) as caught:
                await c.put_record(b"greeting", b"hello", 3, deadline_s=DEADLINE_S)
            assert (caught.value.acknowledged, caught.value.asked, caught.value.wanted) == (2, 2, 3)

    run(scenario())


def test_more_answers_after_the_first_harm_nobody(run: Run[None]) -> None:
    """get_record "succeeded but crashed the server after": seven nodes answer where one is enough."""

    async def scenario() -> None:
        async with nodes(8) as made:
            await joined(made[1:], made[0])
            await made[0].put_record(b"k", b"v", deadline_s=DEADLINE_S)
            for _ in range(5):
                assert await made[7].get_record(b"k", 1, deadline_s=DEADLINE_S) == b"v"
            with pytest.raises(NotFound):
                await made[7].get_record(b"nothing here", deadline_s=DEADLINE_S)
            assert await made[7].get_record(b"k", deadline_s=DEADLINE_S) == b"v"

    run(scenario())


def test_a_provider_is_found_with_its_addresses(run: Run[None]) -> None:
    async def scenario() -> None:
        async with nodes(4) as made:
            await joined(made[1:], made[0])
            await made[1].provide(CONTENT, deadline_s=DEADLINE_S)
            found = await made[2].find_providers(CONTENT, deadline_s=DEADLINE_S)
            assert [(peer.peer_id, peer.addrs) for peer in found] == [
                (made[1].peer_id, made[1].host.listen_addrs)
            ]

    run(scenario())


def test_several_holders_of_one_content_survive_one_of_them(run: Run[None]) -> None:
    async def scenario() -> None:
        async with nodes(4) as made:
            await joined(made[1:], made[0])
            for price, node in ((9, made[0]), (4, made[1])):
                outcome = await node.register_offer(
                    CONTENT, b"u%d" % price, f"u{price}", FileMetadata("192.0.2.1", 80, price), DEADLINE_S
                )
                assert outcome.is_reached
                assert outcome.asked == 3
            await made[0].close()
            found = [offer async for offer in made[3].find_offers(CONTENT, DEADLINE_S)]
            assert sorted((offer.metadata.price_per_mb, offer.provider) for offer in found) == [
                (4, made[1].peer_id),
                (9, made[0].peer_id),
            ]

    run(scenario())


def test_an_offer_registered_alone_spreads_when_others_come(run: Run[None]) -> None:
    async def scenario() -> None:
        async with nodes(3) as (a, b, c):
            outcome = await a.register_offer(CONTENT, b"u", "ann", METADATA, DEADLINE_S)
            assert (outcome.acknowledged, outcome.asked, outcome.wanted) == (0, 0, 0)
            await joined([b, c], a)
            await until(lambda: len(b.offers.store) == len(c.offers.store) == 1)
            await a.close()
            found = [offer async for offer in c.find_offers(CONTENT, DEADLINE_S)]
            assert [offer.user_name for offer in found] == ["ann"]

    run(scenario())


def test_no_node_returns_an_offer_once_its_withdrawal_is_acknowledged(run: Run[None]) -> None:
    async def scenario() -> None:
        async with nodes(8) as made:
            await joined(made[1:], made[0])
            for name, node in ((b"stays", made[1]), (b"goes", made[2])):
                await node.register_offer(CONTENT, name, name.decode(), METADATA, DEADLINE_S)
            outcome = await made[2].withdraw_offer(CONTENT, b"goes", DEADLINE_S)
            assert (outcome.acknowledged, outcome.asked) == (7, 7)
            for node in made:
                # Nothing in between, and each node by itself: none of them shows the offer.
                assert [offer.user_name for offer in node.offers.store.offers(CONTENT, node.now())] == [
                    "stays"
                ]
                found = [offer async for offer in node.find_offers(CONTENT, DEADLINE_S)]
                assert [offer.user_name for offer in found if offer.is_live(node.now())] == ["stays"]
            assert made[2].node_info().own_offers == 0
            with pytest.raises(CallerFault):
                await made[3].withdraw_offer(CONTENT, b"goes", DEADLINE_S)

    run(scenario())


def test_many_offers_are_registered_at_once_and_found_from_everywhere(run: Run[None]) -> None:
    async def scenario() -> None:
        async with nodes(5) as made:
            await joined(made[1:], made[0])
            contents = [new_cidv0(b"file %d" % n).multihash for n in range(3000)]
            many = [OfferTerms(content, b"", "", METADATA) for content in contents]
            # One twice, the second time for another price.
            many.append(OfferTerms(contents[0], b"", "", FileMetadata("192.0.2.7", 9000, 4)))
            outcomes = await made[0].register_offers(many, DEADLINE_S)
            assert len(outcomes) == 3001
            assert all(outcome.is_reached and outcome.asked == 4 for outcome in outcomes)
            assert made[0].node_info().own_offers == 3000
            for node in made:
                for content, price in ((contents[0], 4), (contents[1], 5), (contents[2999], 5)):
                    found = [offer async for offer in node.find_offers(content, DEADLINE_S)]
                    assert [offer.price_per_mb for offer in found] == [price]

    run(scenario())


def test_a_deadline_cuts_a_large_registration_off_between_slices(run: Run[None]) -> None:
    async def scenario() -> None:
        async with nodes(3) as made:
            await joined(made[1:], made[0])
            many = [OfferTerms(new_cidv0(b"%d" % n).multihash, b"", "", METADATA) for n in range(20_000)]
            outcomes = await made[0].register_offers(many, 0.05)
            own = made[0].node_info().own_offers
            assert own < 20_000
            assert sum(outcome.acknowledged > 0 for outcome in outcomes) <= own

    run(scenario())


def test_a_node_alone_withdraws_at_once(run: Run[None]) -> None:
    """There is nobody to tell, and nobody to wait for."""

    async def scenario() -> None:
        async with nodes(1) as (alone,):
            await alone.register_offer(CONTENT, b"u", "ann", METADATA, DEADLINE_S)
            outcome = await alone.withdraw_offer(CONTENT, b"u", DEADLINE_S)
            assert outcome.is_reached
            assert [offer async for offer in alone.find_offers(CONTENT, DEADLINE_S)] == []

    run(scenario())


def test_an_offer_is_an_ordinary_provider_record_to_who_knows_no_offers(run: Run[None]) -> None:
    """A standard libp2p node asks GET_PROVIDERS for the multihash; each node with the offer answers."""

    async def scenario() -> None:
        async with nodes(3) as (a, b, c):
            await joined([b, c], a)
            await b.register_offer(CONTENT, b"u", "bob", METADATA, DEADLINE_S)
            for node in (a, c):
                found = await node.find_providers(CONTENT, deadline_s=DEADLINE_S)
                assert [(peer.peer_id, peer.addrs) for peer in found] == [(b.peer_id, b.host.listen_addrs)]
            own = await b.find_providers(CONTENT, deadline_s=DEADLINE_S)
            assert [peer.peer_id for peer in own] == [b.peer_id]

    run(scenario())


def test_a_peer_is_given_the_time_it_took_for_its_first_word(run: Run[None]) -> None:
    """Not what is given to a stranger: so a node's first search does not wait for one that hangs by now."""
    config = NodeConfig()
    config = replace(config, kad=replace(config.kad, soft_timeout_s=3600.0))

    async def scenario() -> None:
        async with nodes(2, config) as (a, b):
            await b.dial(seed(a))
            await until(lambda: a.engine.table_size == 1)
            assert b.engine.knowledge.rtt.soft_timeout_s(a.peer_id) < 3600.0
            assert a.engine.knowledge.rtt.soft_timeout_s(b.peer_id) < 3600.0

    run(scenario())


def test_a_node_that_joined_nobody_and_is_met_looks_for_the_others(run: Run[None]) -> None:
    """A bootstrap node that comes back with nothing but its identity."""
    config = NodeConfig()
    config = replace(config, kad=replace(config.kad, return_delay_s=0.01))

    async def scenario() -> None:
        async with nodes(4, config) as (back, *others):
            await joined(others[1:], others[0])
            await others[1].dial(seed(back))
            await until(lambda: back.engine.table_size == 3)

    run(scenario())


def test_an_observer_that_fails_costs_no_job_its_result(run: Run[None]) -> None:
    async def main() -> None:
        loop, raised = asyncio.get_running_loop(), list[BaseException | None]()
        loop.set_exception_handler(lambda loop, context: raised.append(context.get("exception")))

        def observer(kind: str, lookup: object, took_s: float) -> None:
            raise RuntimeError(kind)

        async with nodes(1) as (node,):  # which has nobody to ask: its jobs end in one turn
            node.job_observers.append(observer)
            wanted = [node.closest_peers(bytes([number]) * 34, DEADLINE_S) for number in range(3)]
            async with asyncio.timeout(DEADLINE_S):
                assert [list(found) for found in await asyncio.gather(*wanted)] == [[]] * 3
        assert raised
        assert {type(one) for one in raised} == {RuntimeError}

    run(main())
