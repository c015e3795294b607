"""Files of the market for Python programs: `market://CID/path` as an fsspec file system, for reading.

pandas, pyarrow, duckdb, zarr and others that take fsspec URLs read ranges through a node on this machine,
which buys them from their holders and verifies every byte. Needs the extra `fs`.
"""

from __future__ import annotations

from contextlib import aclosing
from typing import Any

from fsspec.asyn import AsyncFileSystem, sync
from fsspec.spec import AbstractBufferedFile

from fastmarket.config import MarketConfig
from fastmarket.errors import FastmarketError, NotFound, Unmet
from fastmarket.exchange.fetching.order import FetchPlan
from fastmarket.market.client_values import ClientTls
from fastmarket.market.grpc_client import MarketClient

_MARKET = MarketConfig()
READ_AHEAD_BYTES = 4 * 1024 * 1024
"""Read at once by default: 16 blocks of 256 KiB, from several holders at a time."""


class MarketFileSystem(AsyncFileSystem):  # type: ignore[misc]  # of unknown type
    """Reads contents by CID. What is read is paid for, at most `max_price` per MB."""

    protocol = "market"
    cachable = True

    def __init__(
        self,
        target: str = f"{_MARKET.host}:{_MARKET.port}",
        token: str | None = None,
        tls: ClientTls | None = None,
        max_price: int | None = None,
        timeout_s: float | None = None,
        **options: Any,
    ) -> None:
        """`target`: gRPC address of the node, "host:port". `timeout_s`: for each read; by default none."""
        super().__init__(**options)
        self._target = target
        self._token = token
        self._tls = tls
        self._max_price = max_price
        self._timeout_s = timeout_s
        self._connected: MarketClient | None = None

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        if isinstance(path, list):
            return [cls._strip_protocol(one) for one in path]
        return str(path).removeprefix("market://").strip("/")

    @property
    def fsid(self) -> str:
        """A name for caches of contents, which are the same whatever node they come from."""
        return "market"

    def close(self) -> None:
        """Closes the connection to the node; the next read makes another."""
        connected, self._connected = self._connected, None
        if connected is not None:
            sync(self.loop, connected.close)

    async def _info(self, path: str, **options: Any) -> dict[str, Any]:
        path = self._strip_protocol(path)
        plan = await self._plan(path)
        return {"name": path, "size": plan.size, "type": "file", "cid": plan.cid, "most_cost": plan.most_cost}

    async def _ls(self, path: str, detail: bool = True, **options: Any) -> list[Any]:
        """A file lists itself. Directories cannot be listed: name the files in them."""
        info = await self._info(path)
        return [info] if detail else [info["name"]]

    async def _cat_file(
        self, path: str, start: int | None = None, end: int | None = None, **options: Any
    ) -> bytes:
        path = self._strip_protocol(path)
        first, last = start or 0, end
        if (first < 0 and last is not None) or (last is not None and last < 0):
            size = (await self._plan(path)).size
            first = max(first + size, 0) if first < 0 else first
            last = last + size if last is not None and last < 0 else last
        if last is not None and last <= first:
            return b""
        parts: list[bytes] = []
        try:
            reports = self._client().fetch(
                path,
                max_price=self._max_price,
                first=first,
                last=None if last is None else last - 1,
                timeout_s=self._timeout_s,
            )
            async with aclosing(reports):
                parts = [report async for report in reports if isinstance(report, bytes)]
        except FastmarketError as fault:
            raise _as_os_error(fault, path) from fault
        return b"".join(parts)

    async def _plan(self, path: str) -> FetchPlan:
        try:
            reports = self._client().fetch(
                path, max_price=self._max_price, plan_only=True, timeout_s=self._timeout_s
            )
            async with aclosing(reports):
                async for report in reports:
                    if isinstance(report, FetchPlan):
                        return report
        except FastmarketError as fault:
            raise _as_os_error(fault, path) from fault
        raise FileNotFoundError(path)

    def _client(self) -> MarketClient:
        """Made in the loop that fsspec runs all calls in."""
        if self._connected is None:
            self._connected = MarketClient(self._target, tls=self._tls, token=self._token)
        return self._connected

    def _open(self, path: str, mode: str = "rb", block_size: Any = None, **options: Any) -> MarketFile:
        if mode != "rb":
            raise ValueError("contents are read only")
        return MarketFile(self, path, mode, block_size or READ_AHEAD_BYTES, **options)


class MarketFile(AbstractBufferedFile):  # type: ignore[misc]  # likewise
    """An open file, which reads ahead."""

    def _fetch_range(self, start: int, end: int) -> bytes:
        data: bytes = sync(self.fs.loop, self.fs._cat_file, self.path, start, end)
        return data


def _as_os_error(fault: FastmarketError, path: str) -> Exception:
    """What programs that read files expect."""
    if isinstance(fault, Unmet) and fault.code == "NOT_A_FILE":
        return IsADirectoryError(str(fault))
    if isinstance(fault, Unmet):
        return PermissionError(str(fault))
    if isinstance(fault, NotFound):
        return FileNotFoundError(f"{path}: {fault}")
    return OSError(str(fault))
