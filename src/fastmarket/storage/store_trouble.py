"""Explains faults of the shared store to its operator."""

from __future__ import annotations

import errno
import re
import socket
import ssl
from collections.abc import Iterator
from enum import Enum

from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    ClusterDownError,
    ClusterError,
    InvalidResponse,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisClusterException,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from fastmarket.errors import StorageFault
from fastmarket.storage.replies import OddReply
from fastmarket.storage.store_url import StoreUrl

MAX_DETAIL_CHARS = 200


class Trouble(Enum):
    """What is wrong, and what to do about it."""

    UNKNOWN_NAME = "its name does not resolve; check the host in --store"
    ANNOUNCED_NAME = (
        "the engine announces a name that does not resolve here; set its cluster-announce-hostname, or "
        "cluster-preferred-endpoint-type ip"
    )
    REFUSED = "nothing listens there; check the host and port in --store, and whether the engine is running"
    UNREACHABLE = "there is no route to it; check the network and the firewalls on the way"
    TIMEOUT = "it does not answer in time; check whether the engine hangs, or a firewall drops packets"
    CLOSED = "it closes the connection without a reply; if it expects TLS, use rediss:// in --store"
    NO_TLS = "it does not speak TLS; if the engine has no TLS, use redis:// in --store"
    TLS_TIMEOUT = (
        "it does not answer our TLS handshake in time; if it has no TLS, use redis:// in --store, else "
        "check whether it hangs"
    )
    CERTIFICATE = "its certificate is not trusted; give its CA as ?ca_file=PATH in --store"
    CA_FILE = "the file of ?ca_file= cannot be read"
    PASSWORD = "it rejects our user or password; check USER:PASSWORD in --store"
    RIGHTS = "our user lacks a permission; see docs/operations.md for the ACL it needs"
    NOT_CLUSTER = "it is not a cluster; set cluster-enabled yes; a single node is enough"
    NO_SLOTS = "its cluster has no slots yet; assign them (redis-cli --cluster create, CLUSTER ADDSLOTSRANGE)"
    CLUSTER_DOWN = "the node that serves this slot is down, with no replica to replace it"
    LOADING = "the engine has just started and is still loading its data"
    MEMORY_FULL = "its memory is full; raise maxmemory"
    READ_ONLY = "a replica received a write; its primary is being replaced"
    CANNOT_SAVE = "the engine refuses writes: it cannot save, or has too few replicas; see its log"
    NOT_AN_ENGINE = "it is not a Redis or Valkey server; check the port in --store"
    ODD_REPLY = "it gives replies that no engine gives; check what stands at that address, and its version"
    REFUSED_CALL = "the engine refused the call"

    @property
    def words(self) -> str:
        """For logs, callers and /readyz."""
        return self.value


class EngineFault(StorageFault):
    """The engine does not answer, or refuses a call; the text says why and what to do."""


class KeyFault(StorageFault):
    """The value under one key of the store is unusable; other keys are not affected."""


_ERRNOS = {
    errno.ECONNREFUSED: Trouble.REFUSED,
    errno.ENETUNREACH: Trouble.UNREACHABLE,
    errno.EHOSTUNREACH: Trouble.UNREACHABLE,
    errno.ETIMEDOUT: Trouble.TIMEOUT,
    errno.ECONNRESET: Trouble.CLOSED,
    errno.EPIPE: Trouble.CLOSED,
}
# The first match applies; of a chain of faults the deepest, the actual cause, is examined first.
_KINDS: tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], Trouble], ...] = (
    (socket.gaierror, Trouble.UNKNOWN_NAME),
    (ssl.SSLCertVerificationError, Trouble.CERTIFICATE),
    (ssl.SSLError, Trouble.NO_TLS),
    (FileNotFoundError, Trouble.CA_FILE),
    (PermissionError, Trouble.CA_FILE),
    ((AuthenticationError, AuthorizationError), Trouble.PASSWORD),
    (NoPermissionError, Trouble.RIGHTS),
    (BusyLoadingError, Trouble.LOADING),
    (OutOfMemoryError, Trouble.MEMORY_FULL),
    (ReadOnlyError, Trouble.READ_ONLY),
    (ClusterDownError, Trouble.CLUSTER_DOWN),
    (InvalidResponse, Trouble.NOT_AN_ENGINE),
    (OddReply, Trouble.ODD_REPLY),
    (IndexError, Trouble.NO_SLOTS),  # the library takes the first of an empty list of primaries
)
_LAST: tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], Trouble], ...] = (
    ((TimeoutError, RedisTimeoutError), Trouble.TIMEOUT),
    (ClusterError, Trouble.CLUSTER_DOWN),
    (RedisConnectionError, Trouble.CLOSED),
    (RedisClusterException, Trouble.CLUSTER_DOWN),
    (OSError, Trouble.UNREACHABLE),
)
# Prefixes of replies for which the library has no exception class.
_ANSWERS = {
    "MISCONF": Trouble.CANNOT_SAVE,
    "NOREPLICAS": Trouble.CANNOT_SAVE,
    "NOGOODSLAVE": Trouble.CANNOT_SAVE,
    "BUSY": Trouble.TIMEOUT,  # running a script
}
_SILENT = frozenset(
    {
        Trouble.UNKNOWN_NAME,
        Trouble.ANNOUNCED_NAME,
        Trouble.REFUSED,
        Trouble.UNREACHABLE,
        Trouble.TIMEOUT,
        Trouble.TLS_TIMEOUT,
        Trouble.CLOSED,
    }
)
# OpenSSL's reasons for a bad file.
_BAD_CA = ("NO_CERTIFICATE_OR_CRL_FOUND", "NO_START_LINE", "X509_LIB", "PEM_LIB")
_DISABLED = re.compile(r"cluster support disabled|Cluster mode is not enabled", re.IGNORECASE)
_OF_A_KEY = ("WRONGTYPE",)


def of_a_key(fault: BaseException) -> bool:
    """Whether a reply concerns one key only."""
    return isinstance(fault, ResponseError) and str(fault).startswith(_OF_A_KEY)


def hangs(fault: BaseException) -> bool:
    """Whether a node of the engine should be paused. A node that answers, even with a refusal, keeps no
    caller waiting."""
    return not isinstance(fault, ResponseError) or isinstance(fault, ClusterError)


def trouble_of(fault: BaseException) -> Trouble:
    """The trouble behind a fault of the client library."""
    chain = list(_chain(fault))
    for one in chain:
        if _DISABLED.search(str(one)) and isinstance(one, ResponseError):
            return Trouble.NOT_CLUSTER
        if isinstance(one, ssl.SSLError) and one.reason in _BAD_CA:
            return Trouble.CA_FILE
        for kinds, trouble in _KINDS:
            if isinstance(one, kinds):
                return trouble
        number = one.errno if isinstance(one, OSError) else None
        if number in _ERRNOS:
            return _ERRNOS[number]
    for one in chain:
        for kinds, trouble in _LAST:
            if isinstance(one, kinds):
                return trouble
        if isinstance(one, ResponseError):
            return _ANSWERS.get(str(one).partition(" ")[0], Trouble.REFUSED_CALL)
    return Trouble.REFUSED_CALL


def told(fault: BaseException, url: StoreUrl) -> EngineFault:
    """The fault for callers. A host name that is not in `url` was announced by the engine."""
    trouble = trouble_of(fault)
    if trouble is Trouble.TIMEOUT and url.tls and "connecting" in str(fault):
        trouble = Trouble.TLS_TIMEOUT
    detail = str(fault).partition("\n")[0].rpartition("reachable node: ")[2][:MAX_DETAIL_CHARS]
    if trouble is Trouble.UNKNOWN_NAME:
        named = re.search(r"connecting to (\S+):\d+", str(fault))
        if named is not None and named[1] not in {host for host, _ in url.hosts}:
            trouble = Trouble.ANNOUNCED_NAME
    how = "does not answer" if trouble in _SILENT else "is not usable"
    shown = f" ({detail})" if detail else ""
    return EngineFault(f"the shared store {how}: {trouble.words}{shown}")


def key_fault(key: bytes, why: object) -> KeyFault:
    """Of a key with an unusable value."""
    text = str(why).partition(" script: ")[0]
    return KeyFault(f"the value under {key.decode()} in the shared store is not ours: {text}")


def _chain(fault: BaseException) -> Iterator[BaseException]:
    """From the deepest cause up to the fault itself."""
    found: list[BaseException] = []
    one: BaseException | None = fault
    while one is not None and one not in found:
        found.append(one)
        one = one.__cause__ or one.__context__
    return reversed(found)
