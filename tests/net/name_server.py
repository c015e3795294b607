"""A DNS server on loopback that knows a few TXT records."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import cast

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset


class NameServer(asyncio.DatagramProtocol):
    """`asked` are the names it was asked for, in order; names it does not know do not exist."""

    def __init__(self, texts: Mapping[str, Sequence[str]]) -> None:
        self.texts = dict(texts)
        self.asked: list[str] = []
        self.address = ("", 0)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)
        host, port = transport.get_extra_info("sockname")
        self.address = (host, port)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        query = dns.message.from_wire(data)
        question = query.question[0]
        name = question.name.to_text().rstrip(".")
        self.asked.append(name)
        reply = dns.message.make_response(query)
        if name not in self.texts:
            reply.set_rcode(dns.rcode.NXDOMAIN)
        elif question.rdtype == dns.rdatatype.TXT and self.texts[name]:
            reply.answer.append(
                dns.rrset.from_text_list(question.name, 60, "IN", "TXT", list(map(quoted, self.texts[name])))
            )
        self._transport.sendto(reply.to_wire(), addr)


def quoted(text: str) -> str:
    """As a zone file has it: strings of at most 255 bytes, which belong together."""
    return " ".join(f'"{text[at : at + 255]}"' for at in range(0, len(text), 255))


@asynccontextmanager
async def name_server(texts: Mapping[str, Sequence[str]]) -> AsyncIterator[NameServer]:
    """One that answers until the block ends."""
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(
        lambda: NameServer(texts), local_addr=("127.0.0.1", 0)
    )
    try:
        yield server
    finally:
        transport.close()
