"""Why the shared store does not do what it is asked, in words for whoever runs it."""

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
from fastmarket.storage.store_url import StoreUrl

MAX_DETAIL_CHARS = 200


class Trouble(Enum):
    """What is wrong, and what to do about it."""

    UNKNOWN_NAME = "DNS does not know its name; look at the host in --store"
    ANNOUNCED_NAME = (
        "the engine announces a name that DNS does not know here; set its cluster-announce-hostname, or "
        "cluster-preferred-endpoint-type ip"
    )
    REFUSED = "nobody listens there; look at host and port in --store, and whether the engine runs"
    UNREACHABLE = "no way leads there; look at the network and the firewall between here and the engine"
    TIMEOUT = "it does not answer in time; look whether the engine hangs, or a firewall drops what we send"
    CLOSED = "it ends the connection without a word; if it expects TLS, write rediss:// in --store"
    NO_TLS = "what answers there speaks no TLS; if the engine has none, write redis:// in --store"
    TLS_TIMEOUT = (
        "it does not answer our TLS in time; if the engine has none, write redis:// in --store, else look "
        "whether it hangs"
    )
    CERTIFICATE = "its certificate is not one we trust; name its CA with ?ca_file=PATH in --store"
    CA_FILE = "the file of ?ca_file= cannot be read"
    PASSWORD = "it refuses our user or password; look at USER:PASSWORD in --store"
    RIGHTS = "our user lacks a right there; docs/operations.md has the ACL it needs"
    NOT_CLUSTER = "it is not a cluster; set cluster-enabled yes, a single node is enough"
    NO_SLOTS = "its cluster has no slots yet; assign them (redis-cli --cluster create, CLUSTER ADDSLOTSRANGE)"
    CLUSTER_DOWN = "the node that holds this is down or has no replica to take its place"
    LOADING = "the engine has just started and still loads its data"
    MEMORY_FULL = "its memory is full; raise maxmemory"
    READ_ONLY = "a replica was asked to write; its primary is being replaced"
    CANNOT_SAVE = "the engine takes no writes: it cannot save, or lacks the replicas it wants; see its log"
    NOT_AN_ENGINE = "what answers there is not a Redis or Valkey; look at the port in --store"
    REFUSED_CALL = "the engine refused the call"

    @property
    def words(self) -> str:
        """For logs, callers and /readyz."""
        return self.value


class EngineFault(StorageFault):
    """The engine does not answer, or refuses; the text says why and what to do."""


class KeyFault(StorageFault):
    """What stands under one key of the store is of no use; other keys are not concerned."""


_ERRNOS = {
    errno.ECONNREFUSED: Trouble.REFUSED,
    errno.ENETUNREACH: Trouble.UNREACHABLE,
    errno.EHOSTUNREACH: Trouble.UNREACHABLE,
    errno.ETIMEDOUT: Trouble.TIMEOUT,
    errno.ECONNRESET: Trouble.CLOSED,
    errno.EPIPE: Trouble.CLOSED,
}
# The first that fits; of a chain of faults the deepest, which is what happened, is looked at first.
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
    (IndexError, Trouble.NO_SLOTS),  # the library looks for the first of no primaries
)
_LAST: tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], Trouble], ...] = (
    ((TimeoutError, RedisTimeoutError), Trouble.TIMEOUT),
    (ClusterError, Trouble.CLUSTER_DOWN),
    (RedisConnectionError, Trouble.CLOSED),
    (RedisClusterException, Trouble.CLUSTER_DOWN),
    (OSError, Trouble.UNREACHABLE),
)
# Beginnings of answers for which the library has no class of its own.
_ANSWERS = {
    "MISCONF": Trouble.CANNOT_SAVE,
    "NOREPLICAS": Trouble.CANNOT_SAVE,
    "NOGOODSLAVE": Trouble.CANNOT_SAVE,
    "BUSY": Trouble.TIMEOUT,  # with somebody's script
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
_BAD_CA = ("NO_CERTIFICATE_OR_CRL_FOUND", "NO_START_LINE", "X509_LIB", "PEM_LIB")  # of OpenSSL, for a file
_DISABLED = re.compile(r"cluster support disabled|Cluster mode is not enabled", re.IGNORECASE)
_OF_A_KEY = ("WRONGTYPE",)


def of_a_key(fault: BaseException) -> bool:
    """Whether an answer tells of one key alone."""
    return isinstance(fault, ResponseError) and str(fault).startswith(_OF_A_KEY)


def hangs(fault: BaseException) -> bool:
    """Whether a node of the engine is to be left alone for a moment. One that answers, if only to refuse,
    keeps nobody waiting."""
    return not isinstance(fault, ResponseError) or isinstance(fault, ClusterError)


def trouble_of(fault: BaseException) -> Trouble:
    """What a fault of the client library comes from."""
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
    """The fault for callers. A name that is not one of `url` was announced by the engine."""
    trouble = trouble_of(fault)
    if trouble is Trouble.TIMEOUT and url.tls and "connecting" in str(fault):
        trouble = Trouble.TLS_TIMEOUT
    detail = str(fault).partition("\n")[0].rpartition("reachable node: ")[2][:MAX_DETAIL_CHARS]
    if trouble is Trouble.UNKNOWN_NAME:
        named = re.search(r"connecting to (\S+):\d+", str(fault))
        if named is not None and named[1] not in {host for host, _ in url.hosts}:
            trouble = Trouble.ANNOUNCED_NAME
    how = "does not answer" if trouble in _SILENT else "does not serve us"
    shown = f" ({detail})" if detail else ""
    return EngineFault(f"the shared store {how}: {trouble.words}{shown}")


def _chain(fault: BaseException) -> Iterator[BaseException]:
    """From the deepest cause to the fault itself."""
    found: list[BaseException] = []
    one: BaseException | None = fault
    while one is not None and one not in found:
        found.append(one)
        one = one.__cause__ or one.__context__
    return reversed(found)
