"""Resolves names: hosts by the system's resolver, /dnsaddr by TXT records (multiaddr: DNSADDR.md)."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING

from fastmarket.errors import CallerFault
from fastmarket.formats.dns_name import ascii_name
from fastmarket.formats.identity import PeerId
from fastmarket.formats.multiaddr import Multiaddr, TcpEndpoint
from fastmarket.net.dial_reasons import DialReason, failed, of_system

if TYPE_CHECKING:
    from dns.asyncresolver import Resolver as DnsResolver

# Address families by the protocol of the name (dns4 and dns6 want one family).
FAMILIES = {"dns4": socket.AF_INET, "dns6": socket.AF_INET6, "dns": socket.AF_UNSPEC}

# Records read of one name; a DNS message over TCP holds 64 KiB, the public bootstrap names have a handful.
MAX_TXT_RECORDS = 64
_PREFIX = "dnsaddr="


class Resolver:
    """Raises DialFailed, with the reason, for a name that leads nowhere."""

    def __init__(self, nameservers: Sequence[tuple[str, int]], timeout_s: float) -> None:
        """`nameservers` for TXT records, as (IP address, port); empty: the system's."""
        self._nameservers = nameservers
        self._timeout_s = timeout_s
        self._dns: DnsResolver | None = None

    async def hosts(self, endpoint: TcpEndpoint) -> list[str]:
        """IP addresses of a host, in the system's order."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._timeout_s):
                found = await loop.getaddrinfo(
                    endpoint.host, endpoint.port, family=FAMILIES[endpoint.kind], type=socket.SOCK_STREAM
                )
        except TimeoutError:
            detail = f"no answer from DNS within {self._timeout_s:g} s"
            raise failed(endpoint.host, DialReason.DNS, detail) from None
        except OSError as error:
            raise failed(endpoint.host, of_system(error), plain(error)) from None
        except UnicodeError:  # of Python's codec for host names
            raise failed(endpoint.host, DialReason.DNS, "no resolver accepts that name") from None
        return list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found))

    async def dnsaddr(self, addr: Multiaddr, peer: PeerId) -> list[Multiaddr]:
        """The addresses of `peer` among those of a /dnsaddr; they may be names again."""
        found = []
        try:
            name = ascii_name(f"_dnsaddr.{addr.parts[0][1]}")
        except ValueError as error:
            raise failed(addr, DialReason.DNS, str(error)) from None
        for text in await self._texts(name):
            try:
                entry = Multiaddr.from_text(text.removeprefix(_PREFIX)) if text.startswith(_PREFIX) else None
            except CallerFault:
                continue  # of a protocol this version does not know
            # A name may stand for many peers. An entry without an id may be any peer's; the handshake tells.
            if entry is not None and entry.peer_id in (None, peer):
                found.append(entry)
        if not found:
            detail = "no TXT record names an address of that peer"
            raise failed(addr, DialReason.DNS, detail)
        return found

    async def _texts(self, name: str) -> list[str]:
        # Loaded with the first /dnsaddr: it takes longer than everything else here.
        from dns.exception import DNSException
        from dns.name import from_text
        from dns.rdtypes.ANY.TXT import TXT

        try:
            if self._dns is None:
                self._dns = self._configured()
            answer = await self._dns.resolve(from_text(name), "TXT", lifetime=self._timeout_s)
        except DNSException as error:
            raise failed(name, DialReason.DNS, str(error)) from None
        records = [record for record in answer if isinstance(record, TXT)][:MAX_TXT_RECORDS]
        return [b"".join(record.strings).decode("utf-8", "replace") for record in records]

    def _configured(self) -> DnsResolver:
        from dns.asyncresolver import Resolver as DnsResolver
        from dns.nameserver import Do53Nameserver

        resolver = DnsResolver(configure=not self._nameservers)
        if self._nameservers:
            resolver.nameservers = [Do53Nameserver(host, port) for host, port in self._nameservers]
        return resolver


def plain(error: OSError) -> str:
    """The fault in a few words."""
    if isinstance(error, socket.gaierror):
        return (error.strerror or "name not found").lower()
    return os.strerror(error.errno).lower() if error.errno else str(error) or type(error).__name__
