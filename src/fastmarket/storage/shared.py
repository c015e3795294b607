"""The store of a fleet: offers in a Redis or Valkey Cluster, for every server behind one name.

One hash a content, `NAMESPACE:offers:{CONTENT}`: a field for each offer, as it was signed, and one for each
user whose offers another server took back. A hash lives as long as its longest offer; the engine lets it go.
What servers tell each other stands in one list a server, `NAMESPACE:letters:{PEER}`, and what one put under
`NAMESPACE:records:{KEY}`.

Every call has a deadline, and fails with StorageFault alone. A node of the engine that failed is left alone
for a pause, so that nobody waits for it; the others are asked as before.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast
from urllib.parse import parse_qsl, unquote, urlsplit

from redis.asyncio.cluster import ClusterNode, PipelineCommand, RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import ConstantBackoff
from redis.exceptions import AskError, MovedError, RedisClusterException, RedisError, TryAgainError

from fastmarket._sha256 import sha256
from fastmarket.config import FleetConfig
from fastmarket.errors import CallerFault, StorageFault
from fastmarket.formats.dns_name import ascii_name

log = logging.getLogger(__name__)

DEFAULT_PORT = 6379
SCHEMES = {"redis": False, "valkey": False, "rediss": True, "valkeys": True}  # whether TLS
CLOSE_S = 0.5  # for calls under way at the end: the library does not always let itself be cancelled
RETRIES = 2  # after the first try: one for a moved slot, one for a new primary
RETRY_WAIT_S = 0.02
ELSEWHERE = (MovedError, AskError, TryAgainError)  # the map of the cluster is out of date
ENGINE_FAULTS = (RedisError, RedisClusterException, OSError, TimeoutError)
LETTERS_TTL_S = 48 * 3600  # what a letter is about has expired by then
# KEYS: the hash. ARGV: field, value, seconds it is of use, most fields. 1: written; 0: the hash is full.
_PUT = """
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 and redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[4]) then
  return 0
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
if redis.call('TTL', KEYS[1]) < tonumber(ARGV[3]) then redis.call('EXPIRE', KEYS[1], ARGV[3]) end
return 1
"""


class SharedRow(NamedTuple):
    """One field of a content's hash."""

    content: bytes
    field: bytes
    value: bytes
    lives_s: int  # from now on; the hash lives at least as long


@dataclass(frozen=True, slots=True)
class StoreUrl:
    """Where the engine is. `shown` is the URL without its password."""

    hosts: tuple[tuple[str, int], ...]
    tls: bool
    username: str | None
    password: str | None = field(repr=False)
    ca_file: str | None

    @classmethod
    def parse(cls, text: str) -> StoreUrl:
        """`redis://[USER:PASSWORD@]HOST[:PORT][,HOST[:PORT]]...[?ca_file=PATH]`; rediss: with TLS. Raises
        CallerFault, which does not repeat the password."""
        scheme, _, rest = text.partition("://")
        if scheme not in SCHEMES:
            raise CallerFault("store", f"expects {'|'.join(SCHEMES)}://HOST:PORT,...")
        parts = urlsplit(f"//{rest}")
        userinfo, _, hosts = parts.netloc.rpartition("@")
        username, _, password = userinfo.partition(":")
        query = dict(parse_qsl(parts.query))
        if parts.path.strip("/") or set(query) - {"ca_file"}:
            raise CallerFault("store", "expects nothing after the hosts but ?ca_file=PATH")
        return cls(
            tuple(_host(host) for host in hosts.split(",")),
            SCHEMES[scheme],
            unquote(username) or None,
            unquote(password) or None,
            query.get("ca_file"),
        )

    @property
    def shown(self) -> str:
        """For logs and people."""
        scheme = "rediss" if self.tls else "redis"
        who = f"{self.username or ''}:***@" if self.password else ""
        return f"{scheme}://{who}{','.join(_shown(host, port) for host, port in self.hosts)}"


def _host(text: str) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port or DEFAULT_PORT
        host = ascii_name(host) if host and not host.isascii() else host
    except ValueError:
        host = None
    if not host:
        raise CallerFault("store", f"{text!r} is no HOST:PORT")
    return host, port


def _shown(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class SharedStore:
    """The engine, for one server. Made without it, and in need of no restart when it comes and goes."""

    def __init__(self, url: StoreUrl, config: FleetConfig, namespace: str) -> None:
        self.url = url
        self.operations: Counter[tuple[str, str]] = Counter()
        """Calls by what they did and how they ended ("ok", "failed", "paused")."""
        self._config = config
        self._namespace = namespace.encode()
        self._client = self._connected_soon(url.hosts)
        self._mapping: asyncio.Task[None] | None = None
        self._renewing: asyncio.Task[None] | None = None
        self._known = False  # whether the map of the cluster was ever had
        self._at_once = asyncio.Semaphore(config.max_connections)
        self._paused: dict[str, float] = {}  # node of the engine -> until when, monotonic

    def _connected_soon(self, hosts: Sequence[tuple[str, int]]) -> RedisCluster:
        url, config = self.url, self._config
        return RedisCluster(
            startup_nodes=[ClusterNode(host, port) for host, port in hosts],
            username=url.username,
            password=url.password,
            ssl=url.tls,
            ssl_ca_certs=url.ca_file,
            require_full_coverage=False,  # what some nodes hold is served while others are gone
            retry=Retry(ConstantBackoff(RETRY_WAIT_S), RETRIES),
            socket_connect_timeout=config.connect_timeout_s,
            socket_timeout=config.write_timeout_s,
            max_connections=config.max_connections,
        )

    def away(self, content: bytes) -> bool:
        """Whether the node that holds this content is left alone just now."""
        return self._paused.get(self._node_of(self._key(content)), 0.0) > time.monotonic()

    async def get(self, content: bytes, timeout_s: float | None = None) -> dict[bytes, bytes]:
        """The fields of a content's hash, by default within a lookup's time. Raises StorageFault."""
        key = self._key(content)
        async with self._guarded("get", key, timeout_s or self._config.read_timeout_s):
            return cast("dict[bytes, bytes]", await self._ask(key, "HGETALL", key))

    async def put(self, rows: Sequence[SharedRow]) -> list[SharedRow]:
        """Writes them, each in the place of the field before; those that could not be written."""
        if not await self._mapped(self._config.write_timeout_s):
            self.operations["put", "failed"] += len(rows)
            return list(rows)
        groups: dict[str, list[SharedRow]] = {}
        for row in rows:
            groups.setdefault(self._node_of(self._key(row.content)), []).append(row)
        answers = await asyncio.gather(*(self._put(node, group) for node, group in groups.items()))
        return [row for failed in answers for row in failed]

    async def _put(self, node: str, rows: Sequence[SharedRow]) -> list[SharedRow]:
        """Those of one node of the engine."""
        if self._paused.get(node, 0.0) > time.monotonic() or self._uncovered(node):
            self.operations["put", "paused"] += len(rows)
            return list(rows)
        most = self._config.max_offers_per_content
        commands = [
            PipelineCommand(
                place,
                "EVAL",
                _PUT,
                1,
                self._key(row.content),
                row.field,
                row.value,
                max(1, row.lives_s),
                most,
            )
            for place, row in enumerate(rows)
        ]
        answers: Sequence[object]
        try:
            async with asyncio.timeout(self._config.write_timeout_s), self._at_once:
                answers = await self._pipe(commands)
        except ENGINE_FAULTS as fault:
            answers = [fault] * len(rows)
        if any(isinstance(answer, Exception) for answer in answers):
            self._pause(node)
        else:
            self._paused.pop(node, None)
        failed = [row for row, answer in zip(rows, answers, strict=True) if answer != 1]
        self.operations["put", "failed"] += len(failed)
        self.operations["put", "ok"] += len(rows) - len(failed)
        return failed

    async def drop(self, content: bytes, fields: Sequence[bytes]) -> None:
        """Fields that are over. Raises StorageFault."""
        key = self._key(content)
        async with self._guarded("drop", key, self._config.read_timeout_s):
            await self._ask(key, "HDEL", key, *fields)

    async def send(self, peer: bytes, letter: bytes) -> None:
        """Leaves a letter for another server. Raises StorageFault."""
        key = self._letters(peer)
        async with self._guarded("send", key, self._config.write_timeout_s):
            await self._ask(key, "RPUSH", key, letter)
            await self._ask(key, "EXPIRE", key, LETTERS_TTL_S)

    async def letters(self, peer: bytes) -> list[bytes]:
        """Those left for a server, oldest first; they stay until `answered`. Raises StorageFault."""
        key = self._letters(peer)
        async with self._guarded("letters", key, self._config.read_timeout_s):
            found = await self._ask(key, "LRANGE", key, 0, self._config.max_letters - 1)
            return cast("list[bytes]", found)

    async def answered(self, peer: bytes, count: int) -> None:
        """The oldest `count` letters are done with. Raises StorageFault."""
        key = self._letters(peer)
        async with self._guarded("answered", key, self._config.write_timeout_s):
            await self._ask(key, "LTRIM", key, count, -1)

    async def get_value(self, record_key: bytes) -> bytes | None:
        """The value the fleet put last under a record's key. Raises StorageFault."""
        key = self._record(record_key)
        async with self._guarded("get_value", key, self._config.write_timeout_s):
            return cast("bytes | None", await self._ask(key, "GET", key))

    async def put_value(self, record_key: bytes, value: bytes, lives_s: int) -> None:
        """Takes the place of the one before. Raises StorageFault."""
        key = self._record(record_key)
        async with self._guarded("put_value", key, self._config.write_timeout_s):
            await self._ask(key, "SET", key, value, "EX", max(1, lives_s))

    async def runs(self) -> frozenset[str]:
        """The runs of the primaries that answer: another one may have lost what the one before held.

        Raises StorageFault when none does.
        """
        if not await self._mapped(self._config.write_timeout_s):
            raise StorageFault("the shared store does not answer")
        try:
            async with asyncio.timeout(self._config.write_timeout_s):
                nodes = self._client.get_primaries()
                answers = await asyncio.gather(*map(_run_of, nodes), return_exceptions=True)
        except ENGINE_FAULTS as fault:
            self._renew()
            raise StorageFault(f"the shared store does not answer: {_why(fault)}") from None
        runs = frozenset(answer for answer in answers if isinstance(answer, str))
        if len(runs) < len(nodes):
            self._renew()
        if not runs:
            raise StorageFault("the shared store does not answer: no primary does")
        return runs

    async def close(self) -> None:
        """Closes the connections."""
        for task in (self._mapping, self._renewing):
            if task is not None:
                task.cancel()
                await asyncio.wait([task], timeout=CLOSE_S)
        await self._client.aclose()

    # Each node is asked directly: the client would close its connections to all of them when one is gone.

    async def _ask(self, key: bytes, *words: bytes | str | int) -> Any:
        client = self._client
        try:
            return await self._holder(client, key).execute_command(*words)
        except ELSEWHERE:
            self._renew()
            return await client.execute_command(*words)

    async def _pipe(self, commands: Sequence[PipelineCommand]) -> list[object]:
        """Answers and faults of commands whose keys (the fourth word) one node holds."""
        client = self._client
        await self._holder(client, commands[0].args[3]).execute_pipeline(list(commands))
        for command in commands:
            if isinstance(command.result, ELSEWHERE):
                self._renew()
                command.result = await client.execute_command(*command.args)
        return [command.result for command in commands]

    def _holder(self, client: RedisCluster, key: bytes) -> ClusterNode:
        node = client.get_node_from_key(key.decode())
        if node is None:
            raise RedisClusterException("no node holds that now")
        return node

    def _key(self, content: bytes) -> bytes:
        return b"%s:offers:{%s}" % (self._namespace, content.hex().encode())

    def _record(self, record_key: bytes) -> bytes:
        return b"%s:records:{%s}" % (self._namespace, sha256(record_key).hex().encode())

    def _letters(self, peer: bytes) -> bytes:
        return b"%s:letters:{%s}" % (self._namespace, peer.hex().encode())

    def _node_of(self, key: bytes) -> str:
        """The engine's node for a key; "" while none is known."""
        try:
            node = self._client.get_node_from_key(key.decode())
        except ENGINE_FAULTS:
            return ""
        return "" if node is None else str(node.name)

    def _uncovered(self, node: str) -> bool:
        """Whether no node holds a key; the map may tell of one soon."""
        if not node:
            self._renew()
        return not node

    async def _mapped(self, timeout_s: float) -> bool:
        """Whether it is known which node holds what; asks at first, once for all who wait."""
        if not self._known and self._paused.get("", 0.0) <= time.monotonic():
            if self._mapping is None or self._mapping.done():
                self._mapping = asyncio.create_task(self._take_map())
            await asyncio.wait([self._mapping], timeout=timeout_s)
        return self._known

    async def _take_map(self) -> None:
        try:
            async with asyncio.timeout(self._config.write_timeout_s):
                await self._client.initialize()
            self._known = True
        except ENGINE_FAULTS as fault:
            log.debug("no map of the shared store: %s", _why(fault))
            self._pause("")

    def _pause(self, node: str) -> None:
        self._renew()
        self._paused[node] = time.monotonic() + self._config.pause_s
        if len(self._paused) > len(self._client.get_nodes()) + 1:
            now = time.monotonic()
            self._paused = {node: until for node, until in self._paused.items() if until > now}

    @asynccontextmanager
    async def _guarded(self, what: str, key: bytes, timeout_s: float) -> AsyncIterator[None]:
        if not await self._mapped(timeout_s):
            self.operations[what, "failed"] += 1
            raise StorageFault("the shared store does not answer")
        node = self._node_of(key)
        now = time.monotonic()
        until = self._paused.get(node)
        if (until is not None and until > now) or self._uncovered(node):
            self.operations[what, "paused"] += 1
            raise StorageFault("the shared store did not answer a moment ago")
        if until is not None:
            self._paused[node] = now + self._config.pause_s  # this caller tries; the others wait for that
        try:
            async with asyncio.timeout(timeout_s), self._at_once:
                yield
        except ENGINE_FAULTS as fault:
            self.operations[what, "failed"] += 1
            self._pause(node)
            raise StorageFault(f"the shared store does not answer: {_why(fault)}") from None
        self.operations[what, "ok"] += 1
        self._paused.pop(node, None)

    def _renew(self) -> None:
        """The map of the cluster is asked for anew, of the nodes told of at the start and of those known."""
        if self._renewing is None or self._renewing.done():
            self._renewing = asyncio.create_task(self._take_new_map())

    async def _take_new_map(self) -> None:
        known = [(str(node.host), int(node.port)) for node in self._client.get_nodes()]
        leaving = self._connected_soon(list(dict.fromkeys((*self.url.hosts, *known))))
        try:
            async with asyncio.timeout(self._config.write_timeout_s):
                await leaving.initialize()
            self._client, leaving = leaving, self._client
            self._known = True
            await asyncio.sleep(self._config.write_timeout_s)  # calls under way end on the one before
        except ENGINE_FAULTS:
            await asyncio.sleep(self._config.pause_s)
        finally:
            await leaving.aclose()


async def _run_of(node: ClusterNode) -> str:
    answer: Any = await node.execute_command("INFO", "server")
    return str(answer["run_id"])


def _why(fault: Exception) -> str:
    return str(fault).partition("\n")[0][:200] or type(fault).__name__
