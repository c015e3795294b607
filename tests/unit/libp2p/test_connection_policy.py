"""Admission by source, which of two connections is kept, and which go first past the high mark."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastmarket.config import HostConfig
from fastmarket.formats.multiaddr import Multiaddr
from fastmarket.libp2p.connection_policy import (
    Admission,
    ConnectionRefusal,
    ConnectionStanding,
    ends_when_asked,
    kept_role,
    source_of,
    to_trim,
)
from fastmarket.libp2p.muxed import Role
from tests.unit.libp2p.pair import identity_of

NOW = 1_000_000.0
TIGHT = HostConfig(
    max_connections=8,
    max_inbound_connections=6,
    max_pending_inbound=3,
    max_pending_per_ip=2,
    max_connections_per_ip=4,
    inbound_burst_per_ip=5,
    inbound_rate_per_ip=2.0,
    max_known_ips=4,
)


@pytest.mark.parametrize(
    ("remote", "limited", "source"),
    [
        ("/ip4/198.51.100.7/tcp/4001", False, "198.51.100.7"),
        ("/ip4/127.0.0.1/tcp/4001", False, None),
        ("/ip4/127.0.0.1/tcp/4001", True, "127.0.0.1"),
        ("/ip6/::1/tcp/4001", False, None),
        ("/ip6/::ffff:198.51.100.7/tcp/4001", False, "198.51.100.7"),
        ("/ip6/2001:db8:1:2ff:3::4/tcp/4001", False, "2001:db8:1:200::/56"),
        ("/ip6/2001:db8:1:201:9::8/tcp/4001", False, "2001:db8:1:200::/56"),
    ],
)
def test_what_a_connection_is_counted_under(remote: str, limited: bool, source: str | None) -> None:
    config = HostConfig(limit_loopback=limited)
    assert source_of(Multiaddr.from_text(remote), config) == source


def test_an_unknown_remote_is_not_counted() -> None:
    assert source_of(None, HostConfig()) is None


def test_both_sides_keep_the_same_connection() -> None:
    for number in range(50):
        one, other = identity_of(number).peer_id, identity_of(number + 1).peer_id
        assert {kept_role(one, other), kept_role(other, one)} == {Role.DIALER, Role.LISTENER}


def test_a_burst_is_earned_again_at_the_rate() -> None:
    admission = Admission(TIGHT)

    def come(now: float) -> ConnectionRefusal | None:
        refusal = admission.refuse(Role.LISTENER, "a", now)
        if refusal is None:
            admission.on_opened(Role.LISTENER, "a")
            admission.on_ended(Role.LISTENER, "a")
        return refusal

    assert [come(NOW) for _ in range(6)] == [None] * 5 + [ConnectionRefusal.SOURCE_RATE]
    assert come(NOW + 0.4) is ConnectionRefusal.SOURCE_RATE
    assert come(NOW + 0.5) is None
    assert [come(NOW + 100.0) for _ in range(6)] == [None] * 5 + [ConnectionRefusal.SOURCE_RATE]


@given(seed=st.integers(0, 2**32), steps=st.integers(1, 200))
def test_no_order_of_events_gets_past_a_bound(seed: int, steps: int) -> None:
    random = Random(seed)
    admission = Admission(TIGHT)
    pending: list[tuple[Role, str | None]] = []
    opened: list[tuple[Role, str | None]] = []
    now = NOW
    for _ in range(steps):
        now += random.choice((0.0, 0.1, 1.0))
        action = random.randrange(3)
        if action == 0:
            one = random.choice(list(Role)), random.choice((None, *"abcdefghij"))
            if admission.refuse(*one, now) is None:
                pending.append(one)
        elif action == 1 and pending:
            one = pending.pop(random.randrange(len(pending)))
            admission.on_opened(*one)
            opened.append(one)
        elif opened:
            admission.on_ended(*opened.pop(random.randrange(len(opened))))
        inbound = [source for role, source in pending + opened if role is Role.LISTENER]
        waiting = [source for role, source in pending if role is Role.LISTENER]
        assert len(pending) + len(opened) <= TIGHT.max_connections
        assert len(inbound) <= TIGHT.max_inbound_connections
        assert len(waiting) <= TIGHT.max_pending_inbound
        for source in "abcdefghij":
            assert inbound.count(source) <= TIGHT.max_connections_per_ip
            assert waiting.count(source) <= TIGHT.max_pending_per_ip
        assert len(admission._sources) <= TIGHT.max_known_ips + TIGHT.max_inbound_connections
    for one in pending:
        admission.on_opened(*one)
        opened.append(one)
    for one in opened:
        admission.on_ended(*one)
    # Nothing is counted twice or forgotten: as many as ever find room again.
    assert all(admission.refuse(Role.DIALER, None, now) is None for _ in range(TIGHT.max_connections))


standings = st.lists(
    st.builds(
        ConnectionStanding,
        link=st.integers(),
        opened_at=st.sampled_from((NOW - 100.0, NOW - 1.0)),
        used_at=st.floats(NOW - 100.0, NOW),
        busy=st.booleans(),
        protected=st.booleans(),
    ),
    max_size=30,
    unique_by=lambda standing: standing.link,
)


@given(standings=standings, high=st.integers(0, 20), low=st.integers(0, 20))
def test_only_idle_ones_go_and_the_longest_unused_first(
    standings: list[ConnectionStanding[int]], high: int, low: int
) -> None:
    low = min(low, high)
    config = HostConfig(high_connections=high, low_connections=low, connection_grace_s=20.0)
    gone = set(to_trim(standings, config, NOW))
    may_go = [s for s in standings if not s.busy and not s.protected and s.opened_at < NOW - 20.0]
    assert gone <= {s.link for s in may_go}
    if len(standings) <= high:
        assert not gone
    else:
        assert len(gone) == min(len(may_go), len(standings) - low)
    left = [s.used_at for s in may_go if s.link not in gone]
    assert all(s.used_at <= min(left, default=NOW) for s in may_go if s.link in gone)


@pytest.mark.parametrize(
    ("agent", "ends"),
    [
        ("fastmarket/0.1.0", True),
        ("rust-libp2p/0.48.0", True),
        ("js-libp2p/3.3.11 node/20", False),
        ("github.com/libp2p/go-libp2p", False),
        ("", False),
    ],
)
def test_who_is_trusted_to_end_a_connection(agent: str, ends: bool) -> None:
    assert ends_when_asked(agent) is ends
