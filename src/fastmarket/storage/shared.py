"""The store of a fleet: offers in a Redis or Valkey Cluster, shared by all servers behind one name.

One hash per content, `NAMESPACE:offers:{CONTENT}`: a field for each signed offer, and one for each user with
offers that another server withdrew. A hash expires with its longest-lived offer. Messages to a server are in
the list `NAMESPACE:letters:{PEER}`, and values put by the fleet under `NAMESPACE:records:{KEY}`.

Every call has a timeout, and raises only StorageFault: EngineFault says what is wrong with the engine,
KeyFault that one key has an unusable value, which affects only that key. A node of the engine that does not
answer is paused, so that callers do not wait for it; the others are used as before. The engine itself limits
the size of reads (`storage.scripts`).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from redis.asyncio.cluster import ClusterNode, PipelineCommand, RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import ConstantBackoff
from redis.exceptions import AskError, MovedError, RedisClusterException, RedisError, TryAgainError

from fastmarket.config import FleetConfig
from fastmarket.native.sha256 import sha256
from fastmarket.storage import scripts
from fastmarket.storage.pauses import Pauses
from fastmarket.storage.replies import as_count, as_fields, as_texts, as_value, readable
from fastmarket.storage.store_trouble import EngineFault, KeyFault, Trouble, hangs, key_fault, of_a_key, told
from fastmarket.storage.store_url import StoreUrl

log = logging.getLogger(__name__)

CLOSE_S = 0.5  # for calls in progress at shutdown: the library cannot always be cancelled
RETRIES = 2  # after the first attempt: one for a moved slot, one for a new primary
RETRY_WAIT_S = 0.02
ELSEWHERE = (MovedError, AskError, TryAgainError)  # the cluster map is out of date
ENGINE_FAULTS = (RedisError, RedisClusterException, OSError, TimeoutError)
MESSAGES_TTL_S = 48 * 3600  # the offer a message is about has expired by then
FIELD_BYTES = 17  # length of the name of every field that servers write


class SharedRow(NamedTuple):
    """One field of a content's hash."""

    content: bytes
    field: bytes
    value: bytes
    lives_s: int  # from now; the hash lives at least as long


class SharedFields(NamedTuple):
    """The possibly useful fields of a content's hash, and the number left out (too many, or too long)."""

    fields: dict[bytes, bytes]
    left_out: int


class SharedStore:
    """A server's client of the engine. It starts without the engine, and survives the engine's restarts."""

    def __init__(self, url: StoreUrl, config: FleetConfig, namespace: str) -> None:
        self.url = url
        self.operations: Counter[tuple[str, str]] = Counter()
        """Calls by operation and outcome ("ok", "failed", "paused")."""
        self._config = config
        self._namespace = namespace.encode()
        self._client = self._connected_soon(url.hosts)
        self._mapping: asyncio.Task[None] | None = None
        self._renewing: asyncio.Task[None] | None = None
        self._known = False  # whether the cluster map was ever fetched
        self._at_once = asyncio.Semaphore(config.max_connections)
        self._pauses = Pauses(config.pause_s)
        self._probes: dict[str, asyncio.Task[None]] = {}  # by node

    def _connected_soon(self, hosts: Sequence[tuple[str, int]]) -> RedisCluster:
        url, config = self.url, self._config
        return RedisCluster(
            startup_nodes=[ClusterNode(host, port) for host, port in hosts],
            username=url.username,
            password=url.password,
            ssl=url.tls,
            ssl_ca_certs=url.ca_file,
            require_full_coverage=False,  # serve the slots of live nodes while others are down
            retry=Retry(ConstantBackoff(RETRY_WAIT_S), RETRIES),
            socket_connect_timeout=config.connect_timeout_s,
            socket_timeout=config.write_timeout_s,
            max_connections=config.max_connections,
        )

    def away(self, content: bytes) -> str:
        """Why the node that holds this content is paused now; "" if it is not."""
        return self._pauses.why(self._node_of(self._key(content)), time.monotonic())

    async def get(self, content: bytes, timeout_s: float | None = None) -> SharedFields:
        """The fields of a content's hash, by default within a lookup's time. Raises StorageFault."""
        key, config = self._key(content), self._config
        bounds = (
            config.max_offers_per_content,
            FIELD_BYTES,
            config.max_field_bytes,
            config.max_content_bytes,
        )
        async with self._guarded("get", key, timeout_s or config.read_timeout_s):
            left_out, fields = as_fields(await self._ask(key, "EVAL", scripts.GET, 1, key, *bounds))
        return SharedFields(fields, left_out)

    async def put(self, rows: Sequence[SharedRow]) -> dict[SharedRow, str]:
        """Writes fields, replacing earlier ones; returns those that could not be written, and why."""
        if not await self._mapped(self._config.write_timeout_s):
            self.operations["put", "failed"] += len(rows)
            return dict.fromkeys(rows, self._no_map())
        groups: dict[str, list[SharedRow]] = {}
        for row in rows:
            groups.setdefault(self._node_of(self._key(row.content)), []).append(row)
        answers = await asyncio.gather(*(self._put(node, group) for node, group in groups.items()))
        return {row: why for failed in answers for row, why in failed.items()}

    async def _put(self, node: str, rows: Sequence[SharedRow]) -> dict[SharedRow, str]:
        """Writes the rows of one node of the engine."""
        why = self._pauses.why(node, time.monotonic()) or self._uncovered(node)
        if why:
            self.operations["put", "paused"] += len(rows)
            return dict.fromkeys(rows, why)
        most = self._config.max_offers_per_content
        commands = [
            PipelineCommand(
                place,
                "EVAL",
                scripts.PUT,
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
        stuck = next((one for one in answers if isinstance(one, Exception) and hangs(one)), None)
        if stuck is None:
            self._pauses.answered(node)
        else:
            self._pause(node, str(told(stuck, self.url)))
        failed = {row: self._why(row, one) for row, one in zip(rows, answers, strict=True) if one != 1}
        self.operations["put", "failed"] += len(failed)
        self.operations["put", "ok"] += len(rows) - len(failed)
        return failed

    def _why(self, row: SharedRow, answer: object) -> str:
        """Why a row was not written."""
        if not isinstance(answer, Exception):
            most = self._config.max_offers_per_content
            return f"the shared store already has {most} entries for that content, the maximum"
        key = self._key(row.content)
        return str(key_fault(key, answer) if of_a_key(answer) else told(answer, self.url))

    async def drop(self, content: bytes, fields: Sequence[bytes]) -> None:
        """Deletes fields that are no longer valid. Raises StorageFault."""
        key = self._key(content)
        async with self._guarded("drop", key, self._config.read_timeout_s):
            await self._ask(key, "HDEL", key, *fields)

    async def send(self, peer: bytes, message: bytes) -> None:
        """Appends a message for another server. Raises StorageFault."""
        key = self._messages(peer)
        async with self._guarded("send", key, self._config.write_timeout_s):
            await self._ask(key, "RPUSH", key, message)
            await self._ask(key, "EXPIRE", key, MESSAGES_TTL_S)

    async def messages(self, peer: bytes) -> list[bytes]:
        """Messages to a server, oldest first; oversized ones are empty. They stay until `answered`. Raises
        StorageFault."""
        key = self._messages(peer)
        async with self._guarded("messages", key, self._config.write_timeout_s):
            bounds = (self._config.max_messages, self._config.max_message_bytes)
            return as_texts(await self._ask(key, "EVAL", scripts.MESSAGES, 1, key, *bounds))

    async def answered(self, peer: bytes, count: int) -> None:
        """Deletes the oldest `count` messages, which have been processed. Raises StorageFault."""
        key = self._messages(peer)
        async with self._guarded("answered", key, self._config.write_timeout_s):
            await self._ask(key, "LTRIM", key, count, -1)

    async def forget_messages(self, peer: bytes) -> None:
        """Deletes whatever is under the key of a server's messages. Raises StorageFault."""
        key = self._messages(peer)
        async with self._guarded("answered", key, self._config.write_timeout_s):
            await self._ask(key, "DEL", key)

    async def get_value(self, record_key: bytes, max_bytes: int) -> bytes | None:
        """The value last put by the fleet under a key. Raises StorageFault; KeyFault if it is too long."""
        key = self._record(record_key)
        async with self._guarded("get_value", key, self._config.write_timeout_s):
            found = as_value(await self._ask(key, "EVAL", scripts.VALUE, 1, key, max_bytes))
        if isinstance(found, int):
            raise key_fault(key, f"a value of {found} bytes, where the maximum is {max_bytes}")
        return found

    async def put_value(self, record_key: bytes, value: bytes, lives_s: int) -> None:
        """Replaces the value under a key. Raises StorageFault."""
        key = self._record(record_key)
        async with self._guarded("put_value", key, self._config.write_timeout_s):
            await self._ask(key, "SET", key, value, "EX", max(1, lives_s))

    async def count(self, what: bytes, name: bytes, script: str, *words: bytes | int) -> int:
        """What a script makes of the value of a name of that kind: a number. Raises StorageFault."""
        key = b"%s:%s:{%s}" % (self._namespace, what, sha256(name).hex().encode())
        async with self._guarded(what.decode(), key, self._config.write_timeout_s):
            return as_count(await self._ask(key, "EVAL", script, 1, key, *words))

    async def runs(self) -> frozenset[str]:
        """The run ids of the primaries that answer: a new run may have lost the data of the previous one.

        Raises StorageFault if none answers.
        """
        if not await self._mapped(self._config.write_timeout_s):
            raise EngineFault(self._no_map())
        try:
            async with asyncio.timeout(self._config.write_timeout_s):
                nodes = self._client.get_primaries()
                answers = await asyncio.gather(*map(_run_of, nodes), return_exceptions=True)
        except ENGINE_FAULTS as fault:
            self._renew()
            raise told(fault, self.url) from None
        runs = frozenset(answer for answer in answers if isinstance(answer, str))
        if len(runs) < len(nodes):
            self._renew()
        if not runs:
            faults = (answer for answer in answers if isinstance(answer, Exception))
            raise told(next(faults, TimeoutError()), self.url)
        return runs

    async def close(self) -> None:
        """Closes the connections."""
        for task in (self._mapping, self._renewing, *self._probes.values()):
            if task is not None:
                task.cancel()
                await asyncio.wait([task], timeout=CLOSE_S)
        await self._client.aclose()

    # Each node is called directly: the client would close its connections to all of them if one fails.
    async def _ask(self, key: bytes, *words: bytes | str | int) -> Any:
        client = self._client
        with readable():
            try:
                return await self._holder(client, key).execute_command(*words)
            except ELSEWHERE:
                self._renew()
                return await client.execute_command(*words)

    async def _pipe(self, commands: Sequence[PipelineCommand]) -> list[object]:
        """Replies and faults of commands whose keys (the fourth word) are on one node."""
        client = self._client
        with readable():
            await self._holder(client, commands[0].args[3]).execute_pipeline(list(commands))
            for command in commands:
                if isinstance(command.result, ELSEWHERE):
                    self._renew()
                    command.result = await client.execute_command(*command.args)
        return [command.result for command in commands]

    def _holder(self, client: RedisCluster, key: bytes) -> ClusterNode:
        node = client.get_node_from_key(key.decode())
        if node is None:
            raise RedisClusterException("no node serves that slot now")
        return node

    def _key(self, content: bytes) -> bytes:
        return b"%s:offers:{%s}" % (self._namespace, content.hex().encode())

    def _record(self, record_key: bytes) -> bytes:
        return b"%s:records:{%s}" % (self._namespace, sha256(record_key).hex().encode())

    def _messages(self, peer: bytes) -> bytes:
        # The stored name is kept: servers of earlier versions read and write the same list.
        return b"%s:letters:{%s}" % (self._namespace, peer.hex().encode())

    def _node_of(self, key: bytes) -> str:
        """The engine's node for a key; "" if none is known."""
        try:
            node = self._client.get_node_from_key(key.decode())
        except ENGINE_FAULTS:
            return ""
        return "" if node is None else str(node.name)

    def _uncovered(self, node: str) -> str:
        """Why no node holds a key; "" if one does. Fetches the map again, which may list one."""
        if node:
            return ""
        self._renew()
        return f"the shared store is not usable: {Trouble.CLUSTER_DOWN.words}"

    def _no_map(self) -> str:
        """Why the cluster map is unknown."""
        return self._pauses.last("") or str(told(TimeoutError(), self.url))

    async def _mapped(self, timeout_s: float) -> bool:
        """Whether the cluster map is known; fetches it at first, once for all waiting callers."""
        if not self._known and not self._pauses.why("", time.monotonic()):
            if self._mapping is None or self._mapping.done():
                self._mapping = asyncio.create_task(self._take_map())
            await asyncio.wait([self._mapping], timeout=timeout_s)
        return self._known

    async def _take_map(self) -> None:
        try:
            async with asyncio.timeout(self._config.write_timeout_s):
                await self._client.initialize()
            self._known = True
        except Exception as fault:  # noqa: BLE001 - the library fails in many ways on unexpected replies
            log.debug("no cluster map of the shared store: %r", fault)
            self._pause("", str(told(fault, self.url)))

    def _pause(self, node: str, why: str) -> None:
        self._renew()
        self._pauses.pause(node, why, time.monotonic(), len(self._client.get_nodes()) + 1)

    async def _probe(self, node: str, key: bytes, why: str) -> None:
        """Determines whether the node is unresponsive, or the key holds it up."""
        try:
            async with asyncio.timeout(self._config.read_timeout_s):
                await self._client.get_node(node_name=node).execute_command("PING")  # type: ignore[union-attr]
        except Exception as fault:  # noqa: BLE001 - including a node that no longer exists
            if hangs(fault):
                self._pause(node, why)
                return
        finally:
            self._probes.pop(node, None)
        self._pauses.answered(node)
        why = f"the value under {key.decode()} takes the engine too long ({why})"
        self._pauses.slow(key, why, time.monotonic())

    @asynccontextmanager
    async def _guarded(self, what: str, key: bytes, timeout_s: float) -> AsyncIterator[None]:
        if not await self._mapped(timeout_s):
            self.operations[what, "failed"] += 1
            raise EngineFault(self._no_map())
        node, now = self._node_of(key), time.monotonic()
        if slow := self._pauses.why_key(key, now):
            self.operations[what, "paused"] += 1
            raise KeyFault(slow)
        why = self._pauses.why(node, now) or self._uncovered(node)
        if why:
            self.operations[what, "paused"] += 1
            raise EngineFault(why)
        self._pauses.trying(node, now)
        try:
            async with asyncio.timeout(timeout_s), self._at_once:
                yield
        except ENGINE_FAULTS as fault:
            self.operations[what, "failed"] += 1
            if not hangs(fault):
                self._pauses.answered(node, key)
                raise (key_fault(key, fault) if of_a_key(fault) else told(fault, self.url)) from None
            wrong = told(fault, self.url)
            if not isinstance(fault, TimeoutError):
                self._pause(node, str(wrong))
            elif node not in self._probes:
                self._probes[node] = asyncio.create_task(self._probe(node, key, str(wrong)))
            raise wrong from None
        self.operations[what, "ok"] += 1
        self._pauses.answered(node, key)

    def _renew(self) -> None:
        """Fetches the cluster map again, from the configured nodes and from those known."""
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
            # Calls in progress finish on the previous client.
            await asyncio.sleep(self._config.write_timeout_s)
        except Exception as fault:  # noqa: BLE001 - as above
            log.debug("no new cluster map of the shared store: %r", fault)
            await asyncio.sleep(self._config.pause_s)
        finally:
            await leaving.aclose()


async def _run_of(node: ClusterNode) -> str:
    answer: Any = await node.execute_command("INFO", "server")
    return str(answer["run_id"])
