"""Whose word about our own address is believed, and how many of them it takes."""

from __future__ import annotations

import pytest

from fastmarket.formats.identity import PeerId
from fastmarket.formats.multiaddr import Multiaddr
from fastmarket.formats.scope import AddressScope, ip_of, scope_of
from fastmarket.libp2p.observed import (
    CONFIRMATIONS,
    MAX_CONFIRMED,
    MAX_VOTES,
    VOTE_TTL_S,
    ObservedAddrs,
    Report,
)
from tests.unit.libp2p.pair import START, identity_of

PEERS = [identity_of(n).peer_id for n in range(1, 40)]
LISTENING = (Multiaddr.from_endpoint("10.0.0.5", 4001), Multiaddr.from_endpoint("127.0.0.1", 4001))
OURS = Multiaddr.from_endpoint("5.6.7.8", 4001)  # what NAT makes of 10.0.0.5, were the port forwarded


def tcp(ip: str, port: int = 999) -> Multiaddr:
    return Multiaddr.from_endpoint(ip, port)


def far(n: int) -> str:
    """Public addresses in different groups."""
    return f"{20 + n}.1.1.1"


def say(
    book: ObservedAddrs,
    n: int,
    observed: Multiaddr,
    *,
    at: str | None = None,
    peer: PeerId | None = None,
    dialed_us: bool = False,
    now: float = START,
) -> None:
    book.report(Report(peer or PEERS[n], tcp(at or far(n)), observed, dialed_us), now)


def test_enough_peers_make_an_address_and_one_less_do_not() -> None:
    book = ObservedAddrs()
    for n in range(CONFIRMATIONS):
        assert book.confirmed(LISTENING, START) == ()
        # Outbound connections: every peer sees another ephemeral port, the address has the one we listen on.
        say(book, n, tcp("5.6.7.8", 50_000 + n))
    assert book.confirmed(LISTENING, START) == (OURS,)


def test_who_dialed_us_tells_the_port_too() -> None:
    book = ObservedAddrs()
    for n in range(CONFIRMATIONS):
        say(book, n, tcp("5.6.7.8", 16_000), dialed_us=True)
    assert book.confirmed(LISTENING, START) == (tcp("5.6.7.8", 16_000),)


def test_both_directions_add_up_but_not_within_a_group() -> None:
    book = ObservedAddrs()
    for n in range(CONFIRMATIONS - 1):
        say(book, n, tcp("5.6.7.8", 50_000 + n))
        say(book, n, OURS, dialed_us=True)
    assert book.confirmed(LISTENING, START) == ()
    say(book, 30, OURS, dialed_us=True)
    assert book.confirmed(LISTENING, START) == (OURS,)


@pytest.mark.parametrize("at", ["20.1.{}.1", "20.1.1.{}"])
def test_neighbours_are_one_voice(at: str) -> None:
    book = ObservedAddrs()
    for n in range(30):
        say(book, n, tcp("5.6.7.8"), at=at.format(n))
    assert len(book) == 1
    assert book.confirmed(LISTENING, START) == ()


def test_neighbours_in_ipv6_are_one_voice() -> None:
    book = ObservedAddrs()
    listening = (tcp("fd00::5", 4001),)
    for n in range(30):
        say(book, n, tcp("2a00:1::8"), at=f"2a01:1:{n:x}::1")
    assert book.confirmed(listening, START) == ()
    for n in range(CONFIRMATIONS):
        say(book, n, tcp("2a00:1::8"), at=f"2a01:{n + 2:x}::1")
    assert book.confirmed(listening, START) == (tcp("2a00:1::8", 4001),)


def test_one_peer_at_many_addresses_is_one_voice() -> None:
    book = ObservedAddrs()
    for n in range(30):
        say(book, n, tcp("5.6.7.8"), peer=PEERS[0])
    assert book.confirmed(LISTENING, START) == ()


def test_on_one_machine_each_peer_is_a_voice_and_in_one_network_each_address() -> None:
    book = ObservedAddrs()
    forwarded = tcp("127.0.0.1", 7777)
    for n in range(CONFIRMATIONS):
        say(book, n, forwarded, at="127.0.0.1", dialed_us=True)
    assert book.confirmed(LISTENING, START) == (forwarded,)
    container = tcp("192.168.0.2", 7777)
    for n in range(CONFIRMATIONS):
        say(book, n, container, at=f"192.168.0.{100 + n}", dialed_us=True)
    assert set(book.confirmed(LISTENING, START)) == {forwarded, container}


@pytest.mark.parametrize(
    ("at", "observed"),
    [
        ("20.1.1.1", "192.168.0.2"),  # a stranger far away who tells of our network
        ("20.1.1.1", "127.0.0.1"),
        ("127.0.0.1", "5.6.7.8"),  # and one beside us who tells of the Internet
        ("192.168.0.9", "5.6.7.8"),
        ("20.1.1.1", "100.64.0.1"),  # a provider's inside
        ("20.1.1.1", "0.0.0.0"),
        ("20.1.1.1", "224.0.0.1"),
        ("20.1.1.1", "2a00:1::8"),
        ("2a00:2::1", "64:ff9b::506:708"),
        ("fe80::1", "fe80::2"),
    ],
)
def test_implausible_words_are_left_out(at: str, observed: str) -> None:
    book = ObservedAddrs()
    say(book, 0, tcp(observed), at=at)
    assert len(book) == 0


@pytest.mark.parametrize(
    "text",
    ["/dns4/a.b/tcp/1", "/ip4/5.6.7.8/udp/1/quic-v1", "/ip4/5.6.7.8/tcp/0", "/ip6/::ffff:5.6.7.8/tcp/1"],
)
def test_only_tcp_addresses_count(text: str) -> None:
    book = ObservedAddrs()
    say(book, 0, Multiaddr.from_text(text), dialed_us=True)
    assert len(book) == 0


def test_who_listens_on_loopback_only_is_not_reached_from_outside() -> None:
    book = ObservedAddrs()
    for n in range(CONFIRMATIONS):
        say(book, n, tcp("5.6.7.8"))
    assert book.confirmed(LISTENING[1:], START) == ()
    assert book.confirmed((), START) == ()


def test_what_is_listened_on_anyway_is_nothing_new() -> None:
    book = ObservedAddrs()
    for n in range(CONFIRMATIONS):
        say(book, n, OURS, dialed_us=True)
    assert book.confirmed((OURS,), START) == ()


def test_a_word_is_forgotten_unless_said_again() -> None:
    book = ObservedAddrs()
    for n in range(CONFIRMATIONS):
        say(book, n, tcp("5.6.7.8"))
    last = START + VOTE_TTL_S - 1
    assert book.confirmed(LISTENING, last) == (OURS,)
    for n in range(CONFIRMATIONS):
        say(book, n, tcp("5.6.7.8"), now=last)
    assert book.confirmed(LISTENING, last + VOTE_TTL_S - 1) == (OURS,)
    assert book.confirmed(LISTENING, last + VOTE_TTL_S) == ()
    assert len(book) == 0


def test_a_new_address_takes_the_place_of_the_old() -> None:
    book = ObservedAddrs()
    for ip in ("5.6.7.8", "5.6.7.9"):
        for n in range(CONFIRMATIONS):
            say(book, n, tcp(ip))
    assert book.confirmed(LISTENING, START) == (tcp("5.6.7.9", 4001),)


def test_the_best_confirmed_few_are_believed() -> None:
    book = ObservedAddrs()
    for last in range(1, 6):
        for n in range(CONFIRMATIONS + last):
            say(book, n, tcp(f"5.6.7.{last}"), at=f"{20 + n}.{last}.1.1")
    best = book.confirmed(LISTENING, START)
    assert [str(ip_of(addr)) for addr in best] == ["5.6.7.5", "5.6.7.4", "5.6.7.3"]
    assert len(best) == MAX_CONFIRMED


def test_a_flood_of_words_is_bounded() -> None:
    book = ObservedAddrs()
    for n in range(10 * MAX_VOTES):
        say(book, n % 30, tcp("5.6.7.8", 1 + n), at=f"{20 + n // 256}.{n % 256}.1.1", dialed_us=True)
    assert len(book) == MAX_VOTES


@pytest.mark.parametrize(
    ("ip", "scope"),
    [
        ("127.0.0.2", AddressScope.LOOPBACK),
        ("::1", AddressScope.LOOPBACK),
        ("10.1.1.1", AddressScope.PRIVATE),
        ("100.64.0.1", AddressScope.PRIVATE),
        ("fd00::1", AddressScope.PRIVATE),
        ("fe80::1", AddressScope.PRIVATE),
        ("1.1.1.1", AddressScope.PUBLIC),
        ("2a00::1", AddressScope.PUBLIC),
    ],
)
def test_scopes(ip: str, scope: AddressScope) -> None:
    address = ip_of(tcp(ip))
    assert address is not None
    assert scope_of(address) is scope
