"""PUT_VALUE and GET_VALUE over a network: quorum, divergence, correction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from fastmarket.config import KadConfig, NodeConfig
from fastmarket.errors import CallerFault, PeerFault
from fastmarket.formats.identity import Identity, PeerId
from fastmarket.kad.engine import Engine
from fastmarket.kad.lookup.lookup import End
from fastmarket.kad.lookup.query import Quorum, quorum_size
from fastmarket.kad.outcome import Outcome
from fastmarket.kad.records.put_job import PutResult
from fastmarket.kad.records.record import OPAQUE, Record
from fastmarket.kad.records.signed_values import sign_value, signed_key
from fastmarket.kad.records.values import GetValueResult
from tests.virtual import START, State, VirtualNetwork, VirtualNode, peer_id_of

KEY = b"key"


def put(
    node: VirtualNode, value: bytes, quorum: Quorum | int = Quorum.MAJORITY, key: bytes = KEY
) -> PutResult:
    result = node.run_job(node.engine.put_value(key, value, node.network.now, quorum))
    assert isinstance(result, PutResult)
    return result


def get(node: VirtualNode, quorum: Quorum | int = Quorum.ONE, key: bytes = KEY) -> GetValueResult:
    result = node.run_job(node.engine.get_value(key, node.network.now, quorum))
    assert isinstance(result, GetValueResult)
    return result


def hold(node: VirtualNode, value: bytes | None) -> None:
    """Set or take away what a node holds."""
    now = node.network.now
    if value is None:
        node.engine.handlers.records.remove(KEY)
    else:
        node.engine.handlers.records.put(Record(KEY, value, now, now + 1000.0), now)


def held(node: VirtualNode) -> bytes | None:
    record = node.engine.handlers.records.get(KEY, node.network.now)
    return None if record is None else record.value


def test_a_put_counts_who_acknowledged() -> None:
    network = VirtualNetwork(1)
    nodes = network.grow(8)
    result = put(nodes[0], b"value")
    assert result.outcome == Outcome(7, 7, 4)
    assert result.outcome.is_reached
    assert all(held(node) == b"value" for node in nodes)


def test_the_quorum_is_told_as_soon_as_it_is_reached() -> None:
    network = VirtualNetwork(2)
    nodes = network.grow(8)
    nodes[5].state = State.SILENT
    job_id = nodes[0].start_job(nodes[0].engine.put_value(KEY, b"value", network.now))
    network.run(lambda: bool(nodes[0].progress))
    assert job_id not in nodes[0].finished
    assert nodes[0].progress == {job_id: [Outcome(4, 6, 4)]}
    network.run(lambda: job_id in nodes[0].finished)
    assert len(nodes[0].progress[job_id]) == 1


def test_too_few_acknowledge() -> None:
    network = VirtualNetwork(3)
    nodes = network.grow(6)

    def refuse(node: VirtualNode) -> None:
        def answer(sender: PeerId, protocol: str, body: bytes, now: float) -> bytes | None:
            if body[:1] != b"\x08":  # PUT_VALUE leaves its type out
                raise PeerFault("no room")
            return node.respond(sender, protocol, body, now)

        node.answer = answer

    for node in nodes[2:]:
        refuse(node)
    result = put(nodes[0], b"value", Quorum.ALL)
    assert result.outcome == Outcome(1, 5, 5)
    assert not result.outcome.is_reached
    assert put(nodes[0], b"value", 1).outcome.is_reached
    assert not put(nodes[0], b"value", 2).outcome.is_reached


def test_an_echo_of_something_else_does_not_count() -> None:
    network = VirtualNetwork(4)
    nodes = network.grow(3)
    nodes[1].answer = lambda sender, protocol, body, now: (
        nodes[1].respond(sender, protocol, body, now)
        if body[:1] == b"\x08"
        else body.replace(b"value", b"VALUE")
    )
    result = put(nodes[0], b"value", Quorum.ALL)
    assert (result.outcome.acknowledged, result.outcome.asked) == (1, 2)


def test_alone() -> None:
    network = VirtualNetwork(5)
    node = network.add()
    assert put(node, b"value").outcome.is_reached, "nobody there: here is enough"
    one = put(node, b"value", Quorum.ONE)
    assert one.outcome == Outcome(0, 0, 1)
    assert get(node).record is not None


def test_any_node_gets_what_was_put() -> None:
    network = VirtualNetwork(6)
    nodes = network.grow(40)
    put(nodes[3], b"value")
    for node in nodes:
        result = get(node)
        assert result.record is not None
        assert (result.record.value, result.has_succeeded) == (b"value", True)
    assert get(nodes[9], Quorum.MAJORITY).agreed_count >= 11
    missing = get(nodes[1], key=b"nobody put this")
    assert (missing.record, missing.holder_count, missing.has_succeeded) == (None, 0, False)


def test_a_quorum_of_get_waits_for_agreement() -> None:
    network = VirtualNetwork(7)
    nodes = network.grow(8)
    for node in nodes[1:5]:
        hold(node, b"value")
    three = get(nodes[0], 3)
    assert (three.agreed_count, three.wanted_count, three.end) == (3, 3, End.STOPPED)
    network.rest(1)  # a copy is left on its way
    for node in nodes:
        hold(node, None)
    hold(nodes[1], b"value")
    short = get(nodes[0], 3)
    assert (short.agreed_count, short.has_succeeded) == (1, False)
    assert short.record is not None


def test_a_value_found_early_is_left_for_a_while_with_the_closest_that_lacks_it() -> None:
    network = VirtualNetwork(11)
    nodes = network.grow(8)
    now, ttl_s = network.now, network.config.kad.cache_ttl_s
    nodes[5].engine.handlers.records.put(Record(KEY, b"value", now, now + 10 * ttl_s), now)
    before = {node.number for node in nodes if node.engine.handlers.records.get(KEY, network.now)}
    assert get(nodes[0]).end is End.STOPPED
    network.rest(1)
    cached = [
        (node.number, record.expires - network.now)
        for node in nodes
        if node.number not in before and (record := node.engine.handlers.records.get(KEY, network.now))
    ]
    ((_, left),) = cached
    assert 0 < left <= ttl_s
    network.rest(ttl_s)
    again = [node for node in nodes if node.engine.handlers.records.get(KEY, network.now)]
    assert {node.number for node in again} == before


def test_stale_and_missing_holders_are_corrected() -> None:
    network = VirtualNetwork(8)
    nodes = network.grow(8)
    for node, value in zip(nodes[1:], [b"new"] * 4 + [b"old"] * 2 + [None], strict=True):
        hold(node, value)
    result = get(nodes[0], Quorum.ALL)
    assert result.record is not None
    assert (result.record.value, result.agreed_count, result.holder_count, result.corrected_count) == (
        b"new",
        4,
        6,
        3,
    )
    network.rest(5)
    assert [held(node) for node in nodes[1:]] == [b"new"] * 7


def test_invalid_values_are_not_believed_but_their_holders_lead_on() -> None:
    network = VirtualNetwork(9)
    nodes = network.grow(8)
    key = b"/pk/" + peer_id_of(1).raw
    now = network.now
    for node in nodes[1:]:
        node.engine.handlers.records.put(Record(key, b"forged", now, now + 1000.0), now)
    result = get(nodes[0], Quorum.ALL, key)
    assert (result.record, result.end, len(result.closest)) == (None, End.COMPLETE, 7)


class Largest:
    """A namespace whose values are compared; only digits are valid."""

    def validate(self, key: bytes, value: bytes, now: float) -> None:
        if not value.isdigit():
            raise PeerFault("not a number")

    def select(self, key: bytes, values: Sequence[bytes]) -> int:
        return max(range(len(values)), key=lambda index: values[index])

    def replaces(self, key: bytes, new: bytes, old: bytes) -> bool:
        return new > old


def test_a_namespace_chooses_and_keeps_the_better() -> None:
    network = VirtualNetwork(10)
    nodes = network.grow(5)
    key = b"/n/any"
    for node in nodes:
        node.engine._rules = node.engine.handlers._rules = {b"n": Largest()}
    put(nodes[0], b"5", key=key)
    with pytest.raises(CallerFault, match="value"):
        nodes[1].engine.put_value(key, b"4", network.now)
    with pytest.raises(CallerFault, match="value"):
        nodes[1].engine.put_value(key, b"x", network.now)
    now = network.now
    nodes[4].engine.handlers.records.put(Record(key, b"9", now, now + 1000.0), now)
    result = get(nodes[2], Quorum.ALL, key)
    assert result.record is not None
    assert (result.record.value, result.agreed_count, result.wanted_count) == (b"9", 1, 4)
    network.rest(5)
    assert get(nodes[3], Quorum.ALL, key).agreed_count >= 4


@pytest.mark.parametrize(
    ("key", "value", "quorum", "field"),
    [
        (b"", b"v", 1, "key"),
        (b"k" * 1025, b"v", 1, "key"),
        (b"/unknown/k", b"v", 1, "key"),
        (b"k", b"", 1, "value"),
        (b"k", b"v" * 10_241, 1, "value"),
        (b"k", b"v", 0, "quorum"),
    ],
)
def test_callers_faults_name_the_field(key: bytes, value: bytes, quorum: int, field: str) -> None:
    engine = VirtualNetwork(11).add().engine
    with pytest.raises(CallerFault) as caught:
        engine.put_value(key, value, START, quorum)
    assert caught.value.field == field
    assert len(engine.maintenance) == 0
    if field != "value":
        with pytest.raises(CallerFault):
            engine.get_value(key, START, quorum)


def test_timeouts_must_be_positive() -> None:
    engine: Engine = VirtualNetwork(12).add().engine
    with pytest.raises(CallerFault, match="timeout_s"):
        engine.find_node(b"k", 0.0)


def test_deadline_of_a_put_leaves_time_to_store() -> None:
    """Half the peers are silent; what was found within half the time still gets the value."""
    network = VirtualNetwork(13, config=NodeConfig(kad=replace(KadConfig(), settle_s=5.0)))
    nodes = network.grow(8)
    for node in nodes[4:]:
        node.state = State.SILENT
    started = network.now
    result = nodes[0].run_job(nodes[0].engine.put_value(KEY, b"value", network.now, Quorum.ALL, 1.0))
    assert isinstance(result, PutResult)
    assert (result.outcome.acknowledged, result.end) == (3, End.DEADLINE)
    assert network.now - started <= 1.0


def test_quorum_sizes() -> None:
    sizes = {quorum: [quorum_size(quorum, peers) for peers in (0, 1, 2, 3, 20)] for quorum in Quorum}
    assert sizes == {Quorum.ONE: [1] * 5, Quorum.MAJORITY: [0, 1, 2, 2, 11], Quorum.ALL: [0, 1, 2, 3, 20]}
    assert quorum_size(5, 3) == 5


def test_the_opaque_rule_is_stable() -> None:
    assert OPAQUE.select(KEY, [b"a", b"b", b"a"]) == 0
    assert [b"a", b"b"][OPAQUE.select(KEY, [b"a", b"b"])] == b"b"
    assert [b"b", b"a"][OPAQUE.select(KEY, [b"b", b"a"])] == b"b"


def test_a_peer_that_hangs_does_not_keep_the_others_from_their_quorum() -> None:
    """The lookup waits for it; the others are stored at as soon as nobody but it is waited for."""
    network = VirtualNetwork(11)
    nodes = network.grow(8)
    nodes[3].state = State.SILENT
    began = network.now
    job = nodes[0].start_job(nodes[0].engine.put_value(KEY, b"value", began))
    network.run(lambda: bool(nodes[0].progress))
    reached = nodes[0].progress[job][-1]
    assert isinstance(reached, Outcome)
    assert (reached.asked, reached.wanted) == (6, 4)
    # A slot's soft timeout, and two requests of at most 0.16 s to a neighbour.
    assert network.now - began < network.config.kad.soft_timeout_s + 4 * 0.16
    network.run(lambda: job in nodes[0].finished)
    result = nodes[0].finished[job].result
    assert isinstance(result, PutResult)
    assert (result.outcome.acknowledged, result.outcome.asked, result.silent_count) == (6, 6, 1)


def test_a_late_peer_is_stored_at_when_it_answers_after_all() -> None:
    network = VirtualNetwork(12, config=NodeConfig(kad=KadConfig(settle_s=4.0)))
    nodes = network.grow(4)
    nodes[3].state = State.SILENT
    job = nodes[0].start_job(nodes[0].engine.put_value(KEY, b"value", network.now))
    network.run(lambda: bool(nodes[0].progress))
    assert job not in nodes[0].finished
    late = next(
        request_id
        for request_id, pending in nodes[0].engine.jobs._pending.items()
        if pending.peer.peer_id == nodes[3].info.peer_id
    )
    nodes[3].state = State.UP
    nodes[0].core.handle_reply(late, network.config.kad.protocol, b"\x08\x04", network.now)
    nodes[0].turn()
    network.run(lambda: job in nodes[0].finished)
    result = nodes[0].finished[job].result
    assert isinstance(result, PutResult)
    assert (result.outcome.acknowledged, result.outcome.asked, result.silent_count) == (3, 3, 0)
    assert held(nodes[3]) == b"value"


def test_a_signed_value_that_is_over_is_not_told_by_who_holds_it() -> None:
    """The copy here outlives it: values are kept for two days, whatever they say of themselves."""
    network = VirtualNetwork(31)
    nodes = network.grow(4)
    writer = Identity.from_seed(bytes(32))
    key, now = signed_key(writer.peer_id), int(network.now)
    over, valid = (
        sign_value(writer, "", b"later", 2, now + 5),
        sign_value(writer, "", b"earlier", 1, now + 900),
    )
    for node, value in ((nodes[0], over), (nodes[2], valid)):
        node.engine.handlers.records.put(Record(key, value, network.now, network.now + 1000.0), network.now)
    network.rest(10.0)
    for quorum in (Quorum.ONE, Quorum.MAJORITY):
        record = get(nodes[0], quorum, key).record
        assert record is not None
        assert record.value == valid
