"""The store of a fleet: offers in a Redis or Valkey Cluster, for every server behind one name.

One hash a content, `NAMESPACE:offers:{CONTENT}`: a field for each offer, as it was signed, and one for each
user whose offers another server took back. A hash lives as long as its longest offer; the engine lets it go.
What servers tell each other stands in one list a server, `NAMESPACE:letters:{PEER}`, and what one put under
`NAMESPACE:records:{KEY}`.

Every call has a deadline, and fails with StorageFault alone: EngineFault tells what the engine lacks,
KeyFault that something of no use stands under one key, which costs that key alone. A node of the engine that
does not answer is left alone for a pause, so that nobody waits for it; the others are asked as before. How
much is read is bounded in the engine (`storage.scripts`).
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
from fastmarket.storage.store_trouble import EngineFault, KeyFault, Trouble, hangs, of_a_key, told
from fastmarket.storage.store_url import StoreUrl

log = logging.getLogger(__name__)

CLOSE_S = 0.5  # for calls under way at the end: the library does not always let itself be cancelled
RETRIES = 2  # after the first try: one for a moved slot, one for a new primary
RETRY_WAIT_S = 0.02
ELSEWHERE = (MovedError, AskError, TryAgainError)  # the map of the cluster is out of date
ENGINE_FAULTS = (RedisError, RedisClusterException, OSError, TimeoutError)
LETTERS_TTL_S = 48 * 3600  # what a letter is about has expired by then
FIELD_BYTES = 17  # of the name of every field that servers write


class SharedRow(NamedTuple):
    """One field of a content's hash."""

    content: bytes
    field: bytes
    value: bytes
    lives_s: int  # from now on; the hash lives at least as long


class SharedFields(NamedTuple):
    """What of a content's hash may be of use, and how many fields cannot be: too many, too long."""

    fields: dict[bytes, bytes]
    left_out: int


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
            require_full_coverage=False,  # what some nodes hold is served while others are gone
            retry=Retry(ConstantBackoff(RETRY_WAIT_S), RETRIES),
            socket_connect_timeout=config.connect_timeout_s,
            socket_timeout=config.write_timeout_s,
            max_connections=config.max_connections,
        )

    def away(self, content: bytes) -> str:
        """Why the node that holds this content is left alone just now; "": it is not."""
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
            left_out, found = await self._ask(key, "EVAL", scripts.GET, 1, key, *bounds)
        return SharedFields(dict(zip(found[::2], found[1::2], strict=True)), int(left_out))

    async def put(self, rows: Sequence[SharedRow]) -> dict[SharedRow, str]:
        """Writes them, each in the place of the field before; those that could not be written, and why."""
        if not await self._mapped(self._config.write_timeout_s):
            self.operations["put", "failed"] += len(rows)
            return dict.fromkeys(rows, self._no_map())
        groups: dict[str, list[SharedRow]] = {}
        for row in rows:
            groups.setdefault(self._node_of(self._key(row.content)), []).append(row)
        answers = await asyncio.gather(*(self._put(node, group) for node, group in groups.items()))
        return {row: why for failed in answers for row, why in failed.items()}

    async def _put(self, node: str, rows: Sequence[SharedRow]) -> dict[SharedRow, str]:
        """Those of one node of the engine."""
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
            return f"the shared store holds {most} entries of that content already, the most there may be"
        key = self._key(row.content)
        return str(_of_key(key, answer) if of_a_key(answer) else told(answer, self.url))

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
        """Those left for a server, oldest first, empty where one is too long; they stay until `answered`.

        Raises StorageFault.
        """
        key = self._letters(peer)
        async with self._guarded("letters", key, self._config.write_timeout_s):
            bounds = (self._config.max_letters, self._config.max_letter_bytes)
            found: list[bytes] = await self._ask(key, "EVAL", scripts.LETTERS, 1, key, *bounds)
        return found

    async def answered(self, peer: bytes, count: int) -> None:
        """The oldest `count` letters are done with. Raises StorageFault."""
        key = self._letters(peer)
        async with self._guarded("answered", key, self._config.write_timeout_s):
            await self._ask(key, "LTRIM", key, count, -1)

    async def forget_letters(self, peer: bytes) -> None:
        """Whatever stands in the place of a server's letters goes. Raises StorageFault."""
        key = self._letters(peer)
        async with self._guarded("answered", key, self._config.write_timeout_s):
            await self._ask(key, "DEL", key)

    async def get_value(self, record_key: bytes, max_bytes: int) -> bytes | None:
        """The value the fleet put last under a key. Raises StorageFault; KeyFault where it is longer."""
        key = self._record(record_key)
        async with self._guarded("get_value", key, self._config.write_timeout_s):
            found: bytes | int | None = await self._ask(key, "EVAL", scripts.VALUE, 1, key, max_bytes)
        if isinstance(found, int):
            raise _of_key(key, f"a value of {found} bytes, where {max_bytes} are the most")
        return found

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

    def _uncovered(self, node: str) -> str:
        """Why no node holds a key, "" where one does; the map may tell of one soon."""
        if node:
            return ""
        self._renew()
        return f"the shared store does not serve us: {Trouble.CLUSTER_DOWN.words}"

    def _no_map(self) -> str:
        """Why it is not known which node holds what."""
        return self._pauses.last("") or str(told(TimeoutError(), self.url))

    async def _mapped(self, timeout_s: float) -> bool:
        """Whether it is known which node holds what; asks at first, once for all who wait."""
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
        except Exception as fault:  # noqa: BLE001 - the library trips over what it did not expect
            log.debug("no map of the shared store: %r", fault)
            self._pause("", str(told(fault, self.url)))

    def _pause(self, node: str, why: str) -> None:
        self._renew()
        self._pauses.pause(node, why, time.monotonic(), len(self._client.get_nodes()) + 1)

    async def _probe(self, node: str, key: bytes, why: str) -> None:
        """Whether it is the node that does not answer, or the key that holds it up."""
        try:
            async with asyncio.timeout(self._config.read_timeout_s):
                await self._client.get_node(node_name=node).execute_command("PING")  # type: ignore[union-attr]
        except Exception as fault:  # noqa: BLE001 - a node that is not there any more, too
            if hangs(fault):
                self._pause(node, why)
                return
        finally:
            self._probes.pop(node, None)
        self._pauses.answered(node)
        why = f"what stands under {key.decode()} takes the engine too long ({why})"
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
                raise (_of_key(key, fault) if of_a_key(fault) else told(fault, self.url)) from None
            wrong = told(fault, self.url)
            if not isinstance(fault, TimeoutError):
                self._pause(node, str(wrong))
            elif node not in self._probes:
                self._probes[node] = asyncio.create_task(self._probe(node, key, str(wrong)))
            raise wrong from None
        self.operations[what, "ok"] += 1
        self._pauses.answered(node, key)

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
        except Exception as fault:  # noqa: BLE001 - as above
            log.debug("no new map of the shared store: %r", fault)
            await asyncio.sleep(self._config.pause_s)
        finally:
            await leaving.aclose()


async def _run_of(node: ClusterNode) -> str:
    answer: Any = await node.execute_command("INFO", "server")
    return str(answer["run_id"])


def _of_key(key: bytes, why: object) -> KeyFault:
    text = str(why).partition(" script: ")[0]
    return KeyFault(f"what stands under {key.decode()} in the shared store is not ours: {text}")
