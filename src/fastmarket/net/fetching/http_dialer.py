"""Opens HTTP connections to holders; one dialer for all fetches of a node."""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
from collections.abc import Callable, Sequence

from fastmarket.config import HolderConfig
from fastmarket.errors import DialFailed
from fastmarket.formats.multiaddr import Multiaddr, TcpEndpoint
from fastmarket.formats.scope import ip_of
from fastmarket.net.dial_reasons import DialReason, failed, of_system
from fastmarket.net.fetching.http_connection import ConnectionOwner, HttpConnection
from fastmarket.net.fetching.http_target import HttpTarget
from fastmarket.net.resolver import Resolver, plain


class HttpDialer:
    """Counts the connections of all holders, too."""

    def __init__(
        self,
        config: HolderConfig,
        resolver: Resolver,
        may_dial: Callable[[str], bool],
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """`may_dial`: whether a stranger's word is enough to dial that IP address
        (`net.addresses.OwnAddresses`). `tls`: instead of the system's authorities."""
        self._config = config
        self._resolver = resolver
        self._may_dial = may_dial
        self._tls = tls
        self.used = 0
        """Connections taken."""

    def take(self) -> bool:
        """Room for a connection, which `release` gives back; False if there is none."""
        if self.used >= self._config.max_connections:
            return False
        self.used += 1
        return True

    def release(self) -> None:
        """A connection has ended, or was never made."""
        self.used -= 1

    async def addresses(self, target: HttpTarget) -> list[str]:
        """The IP addresses of its host that may be dialed. Raises DialFailed.

        They are dialed as they are: a name that resolves to another address a moment later leads nowhere.
        """
        if _is_ip(target.host):
            found = [target.host]
        else:
            found = await self._resolver.hosts(TcpEndpoint("dns", target.host, target.port))
        usable = [ip for ip in found if self._is_usable(ip, target.port)][: self._config.max_addresses]
        if not usable:
            raise failed(target.url, DialReason.OUTSIDE)
        return usable

    async def connect(
        self, target: HttpTarget, addresses: Sequence[str], owner: ConnectionOwner
    ) -> HttpConnection:
        """A connection to the first of the addresses that answers. Raises DialFailed."""
        fault: DialFailed | None = None
        for ip in addresses:
            try:
                return await self._connect(target, ip, owner)
            except DialFailed as last:
                fault = fault or last
        raise fault or failed(target.url, DialReason.NO_ADDRESS)

    async def _connect(self, target: HttpTarget, ip: str, owner: ConnectionOwner) -> HttpConnection:
        connection = HttpConnection(owner)
        is_up = False
        try:
            async with asyncio.timeout(self._config.dial_timeout_s):
                await asyncio.get_running_loop().create_connection(
                    lambda: connection,
                    ip,
                    target.port,
                    ssl=self._context() if target.is_tls else None,
                    server_hostname=target.host if target.is_tls else None,
                )
            is_up = True
        except TimeoutError:
            raise failed(target.url, DialReason.TIMEOUT, f"no answer from {ip} in time") from None
        except ssl.SSLError as error:
            raise failed(target.url, DialReason.CLOSED, _tls_reason(error)) from None
        except OSError as error:
            raise failed(target.url, of_system(error), plain(error)) from None
        finally:
            if not is_up:
                connection.close()
        return connection

    def _is_usable(self, ip: str, port: int) -> bool:
        return ip_of(Multiaddr.from_endpoint(ip, port)) is not None and self._may_dial(ip)

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:  # reading the authorities takes some 20 ms
            self._tls = ssl.create_default_context()
            self._tls.set_alpn_protocols(["http/1.1"])
        return self._tls


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _tls_reason(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate does not verify: {error.verify_message}"
    return "no TLS there" if error.reason is None else error.reason.replace("_", " ").lower()
