"""Where a holder serves blocks over HTTP, and what is sent there: nothing but a GET or HEAD of a CID."""

from __future__ import annotations

import re
from dataclasses import dataclass

from fastmarket._version import __version__
from fastmarket.errors import CallerFault
from fastmarket.formats.cid import Cid
from fastmarket.offers.model.metadata import MAX_PORT, check_host, check_integer

MAX_PATH_CHARS = 256  # before /ipfs; gateways stand at the root of a host, rarely below a short path
# Absolute, of the characters of RFC 3986 section 3.3.
_PATH = re.compile(r"(?:/[A-Za-z0-9._~!$&'()*+,;=:@-]+)*")

# The ports that browsers do not ask: whoever listens there speaks another protocol, of which a line of HTTP
# might be a command (Fetch standard, "port blocking"). An offer may name anybody's host.
BLOCKED_PORTS = frozenset(
    (
        *(1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101, 102, 103),
        *(104, 109, 110, 111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161, 179, 389, 427, 465, 512, 513),
        *(514, 515, 526, 530, 531, 532, 540, 548, 554, 556, 563, 587, 601, 636, 989, 990, 993, 995, 1719),
        *(1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566, 6665, 6666, 6667, 6668, 6669, 6679),
        *(6697, 10080),
    )
)

_HEADERS = (
    "Accept: application/vnd.ipld.raw\r\n"
    # A gateway that does not have the block says so at once, and looks for it nowhere (RFC 9111, 5.2.1.7).
    "Cache-Control: only-if-cached\r\n"
    f"User-Agent: fastmarket/{__version__}\r\n"
)


@dataclass(frozen=True, slots=True)
class HttpTarget:
    """A trustless gateway at a host and port, below `path` ("" for the root).

    Raises CallerFault naming the field.
    """

    host: str
    port: int
    is_tls: bool = False
    path: str = ""

    def __post_init__(self) -> None:
        check_host("ip", self.host)
        check_integer("port", self.port, 1, MAX_PORT)
        if self.port in BLOCKED_PORTS:
            raise CallerFault("port", f"{self.port} is a port of another protocol")
        if len(self.path) > MAX_PATH_CHARS or not _PATH.fullmatch(self.path):
            raise CallerFault("path", f"{self.path[:MAX_PATH_CHARS]!r} is not the path of a URL")

    @property
    def authority(self) -> str:
        """The host, in brackets if it is an IPv6 address, and the port unless it is the default one."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.is_tls else 80) else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """Of the gateway, without a slash at the end."""
        return f"{'https' if self.is_tls else 'http'}://{self.authority}{self.path}"

    def request(self, cid: bytes, *, is_head: bool = False, payment: str = "") -> bytes:
        """The whole request for a block (trustless gateway specification), with PAYMENT-SIGNATURE unless that
        is empty. Raises PeerFault for a CID that is not one."""
        method = "HEAD" if is_head else "GET"
        line = f"{method} {self.path}/ipfs/{Cid.from_bytes(cid)}?format=raw HTTP/1.1\r\n"
        paid = f"PAYMENT-SIGNATURE: {payment}\r\n" if payment else ""
        return f"{line}Host: {self.authority}\r\n{_HEADERS}{paid}\r\n".encode("ascii")
