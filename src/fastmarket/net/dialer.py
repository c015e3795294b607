"""From a peer and its addresses to a connection that authenticates as that peer."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from fastmarket.config import HostConfig
from fastmarket.errors import DialFailed, FastmarketError, NetworkFault, PeerFault
from fastmarket.faults import Faults
from fastmarket.formats.identity import PeerId
from fastmarket.formats.multiaddr import Multiaddr
from fastmarket.libp2p.dialing import DialRace, Target
from fastmarket.net.addresses import OwnAddresses
from fastmarket.net.dial_reasons import (
    ABSENT,
    DialReason,
    Failure,
    NobodyThere,
    failed,
    of_handshake,
    of_system,
)
from fastmarket.net.link import Link
from fastmarket.net.resolver import FAMILIES, Resolver, plain
from fastmarket.net.transports.table import IP_KINDS, NAMES, endpoint_of

# A name may lead to another one, as the public bootstrap names do once; longer chains are mistakes, or
# attacks.
MAX_DNSADDR_DEPTH = 4


class DialEnd(Enum):
    """The outcome of one address."""

    CONNECTED = "connected"  # it led to the peer
    DEAD = "dead"  # no answer, or too late
    REFUSED = "refused"  # the machine is there, but nothing listens
    WRONG = "wrong"  # another peer answered


Connect = Callable[[Target, PeerId], Awaitable[Link]]
OnTried = Callable[[PeerId, Multiaddr, DialEnd], None]


@dataclass(frozen=True, slots=True)
class _Shell:
    """What every dial needs."""

    config: HostConfig
    connect: Connect
    on_tried: OnTried
    rank: Callable[[Multiaddr], int]
    resolver: Resolver
    own: OwnAddresses
    faults: Faults


class Dialer:
    """Tries a peer's addresses, each a little after the previous one; the first that authenticates wins.

    `connect(target, peer)` is a transport's: it returns a link whose handshake is done. `on_tried(peer, addr,
    end)` learns the outcome of each address, `rank(addr)` decides which go first (see
    `libp2p.dialing.DialBook`), and `own` decides which IP addresses behind a stranger's name may be dialed.
    """

    def __init__(
        self,
        config: HostConfig,
        connect: Connect,
        on_tried: OnTried,
        rank: Callable[[Multiaddr], int],
        own: OwnAddresses,
        faults: Faults,
    ) -> None:
        resolver = Resolver(config.nameservers, config.dial_timeout_s)
        self._shell = _Shell(config, connect, on_tried, rank, resolver, own, faults)
        self._places = asyncio.Semaphore(config.max_dials)

    async def dial(self, peer: PeerId, addrs: Sequence[Multiaddr], given: Collection[Multiaddr] = ()) -> Link:
        """A link whose handshake is done. Raises DialFailed with all reasons.

        Names among `given` are dialed wherever they lead.
        """
        if not addrs:
            raise _together([Failure(str(peer), DialReason.NO_ADDRESS)], "no address known", peer)
        # Others announce addresses of all their transports; those we cannot dial take no place from the rest.
        usable = [addr for addr in addrs if addr.is_dnsaddr or endpoint_of(addr) is not None]
        if not usable:
            failures = [Failure(str(addr), DialReason.NO_ADDRESS) for addr in addrs]
            raise _together(failures, f"none is a {NAMES} address: {', '.join(map(str, addrs))}", peer)
        async with self._places:
            chosen = usable[: self._shell.config.max_dial_addrs]
            return await _Dial(self._shell, peer, given).run(chosen)


class _Dial:
    """One peer's dial: attempts and name lookups in parallel, until one succeeds or none is left."""

    def __init__(self, shell: _Shell, peer: PeerId, given: Collection[Multiaddr]) -> None:
        self._given = given
        config = shell.config
        self._shell = shell
        self._peer = peer
        self._race = DialRace(config.dial_stagger_s, config.max_dial_addrs)
        self._lookups_left = config.max_dial_lookups
        self._attempts: dict[asyncio.Task[Link], Target] = {}
        self._lookups: dict[asyncio.Task[None], Multiaddr] = {}
        self._unsettled: Counter[Multiaddr] = Counter()  # targets of an address that have not failed
        self._failures: list[Failure] = []

    async def run(self, addrs: Iterable[Multiaddr]) -> Link:
        loop = asyncio.get_running_loop()
        try:
            for addr in addrs:
                self._consider([addr], 0, trusted=addr in self._given)
            while True:
                while (target := self._race.start(loop.time())) is not None:
                    self._attempts[asyncio.ensure_future(self._try(target))] = target
                running = {*self._attempts, *self._lookups}
                if not running:
                    nowhere = Failure(
                        str(self._peer), DialReason.DNS, "no name resolves to an address we can dial"
                    )
                    raise _together(self._failures or [nowhere], "", self._peer)
                at = self._race.next_timer()
                timeout = None if at is None else max(0.0, at - loop.time())
                done, _ = await asyncio.wait(running, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
                links = [link for task in done if (link := self._settle(task)) is not None]
                for link in links[1:]:
                    link.abort()
                if links:
                    return links[0]
        finally:
            for task in (*self._attempts, *self._lookups):
                task.cancel()
                task.add_done_callback(_discard)

    def _consider(self, addrs: Iterable[Multiaddr], depth: int, *, trusted: bool) -> None:
        """Adds addresses to the race: names once they are resolved, all others at once."""
        for addr in addrs:
            found = endpoint_of(addr)
            if found is not None and found[1].kind not in FAMILIES:
                transport, endpoint = found
                allowed = trusted or depth == 0 or endpoint.kind not in IP_KINDS
                self._add(Target(addr, transport, endpoint.host, endpoint.port), allowed)
            elif (found is not None or addr.is_dnsaddr) and self._lookups_left:
                self._lookups_left -= 1
                self._lookups[asyncio.ensure_future(self._look_up(addr, depth, trusted))] = addr

    def _add(self, target: Target, trusted: bool) -> None:
        if not trusted and not self._shell.own.may_dial(target.host):
            self._failures.append(Failure(str(target.addr), DialReason.OUTSIDE))
        elif self._race.add(target, self._shell.rank(target.addr)):
            self._unsettled[target.addr] += 1

    async def _look_up(self, addr: Multiaddr, depth: int, trusted: bool) -> None:
        found = endpoint_of(addr)
        if found is not None:
            transport, endpoint = found
            for host in await self._shell.resolver.hosts(endpoint):
                self._add(Target(addr, transport, host, endpoint.port), trusted)
        elif depth >= MAX_DNSADDR_DEPTH:
            raise failed(addr, DialReason.DNS, "too many names refer to further names")
        else:
            named = await self._shell.resolver.dnsaddr(addr, self._peer)
            self._consider(named, depth + 1, trusted=trusted)

    def _settle(self, task: asyncio.Task[Any]) -> Link | None:
        """Takes the end of an attempt or a name lookup; returns the link, if that was its result."""
        fault = task.exception()
        if fault is not None and not isinstance(fault, FastmarketError):
            self._shell.faults.tell("dialing an address", fault)  # other addresses may work
        name = self._lookups.pop(task, None)
        if name is not None:
            if fault is not None:
                self._note(name, fault)
                self._shell.on_tried(self._peer, name, DialEnd.DEAD)
            return None
        target = self._attempts.pop(task)
        if fault is None:
            link: Link = task.result()
            return link
        self._race.on_failed(asyncio.get_running_loop().time())
        self._note(target.addr, fault)
        self._unsettled[target.addr] -= 1
        if not self._unsettled[target.addr]:  # a name is as good as the best of its hosts
            self._shell.on_tried(self._peer, target.addr, _end_of(fault))
        return None

    def _note(self, addr: Multiaddr, fault: BaseException) -> None:
        """Records the outcome under the given address: a name may stand for several, and lead to others."""
        if isinstance(fault, DialFailed) and fault.failures:
            failures = [one for one in fault.failures if isinstance(one, Failure)]
            self._failures += (Failure(str(addr), one.reason, one.detail) for one in failures)
            return
        if not isinstance(fault, FastmarketError):
            self._failures.append(Failure(str(addr), DialReason.BUG))
            return
        detail = fault.reason if isinstance(fault, PeerFault | NetworkFault) else str(fault)
        self._failures.append(Failure(str(addr), of_handshake(fault, str(self._shell.own.peer_id)), detail))

    async def _try(self, target: Target) -> Link:
        timeout_s = self._shell.config.dial_timeout_s
        try:
            async with asyncio.timeout(timeout_s):
                link = await self._shell.connect(target, self._peer)
            # Here, and not when the race is decided: identify must find the address known when it comes.
            self._shell.on_tried(self._peer, target.addr, DialEnd.CONNECTED)
        except TimeoutError:
            raise failed(target.addr, DialReason.TIMEOUT, f"no answer within {timeout_s:g} s") from None
        except OSError as error:
            raise failed(target.addr, of_system(error), plain(error)) from None
        except UnicodeError:  # of the codec that encodes every host name
            raise failed(target.addr, DialReason.DNS, "this system does not support that address") from None
        return link


def _together(failures: Sequence[Failure], text: str, peer: PeerId) -> DialFailed:
    fault = DialFailed(text or "; ".join(map(str, failures)), peer=peer)
    fault.failures = tuple(failures)
    fault.gone = all(one.reason in ABSENT for one in failures)
    return fault


def _end_of(fault: BaseException) -> DialEnd:
    if not isinstance(fault, NobodyThere):
        return DialEnd.WRONG
    refused = any(isinstance(one, Failure) and one.reason is DialReason.REFUSED for one in fault.failures)
    return DialEnd.REFUSED if refused else DialEnd.DEAD


def _discard(task: asyncio.Task[Any]) -> None:
    """Closes a losing link that was made before its cancellation arrived."""
    if not task.cancelled() and task.exception() is None and isinstance(link := task.result(), Link):
        link.abort()
