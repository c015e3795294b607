"""The error tree: one class per party at fault.

`PeerFault`     the remote broke a rule; it costs that stream or connection, never more.
`CallerFault`   our caller passed a wrong argument; the field is named.
`NetworkFault`  no party is at fault: a host is gone, a deadline passed, too few peers answered.
`NodeFault`     our own: a bug, a full disk, a corrupt file.
"""

from __future__ import annotations


class FastmarketError(Exception):
    """Root of every error this package raises deliberately."""

    def __reduce__(self) -> tuple[object, ...]:
        """Reduces to text and fields; `Exception` would call the class with the text alone."""
        return _restored, (type(self), self.args, self.__dict__)


def _restored(kind: type[FastmarketError], args: tuple[object, ...], fields: dict[str, object]) -> object:
    """For `pickle` and `copy`."""
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(fields)
    return error


class PeerFault(FastmarketError):
    """The remote violated `protocol`."""

    def __init__(self, reason: str, *, protocol: str = "") -> None:
        super().__init__(f"{protocol}: {reason}" if protocol else reason)
        self.reason = reason
        self.protocol = protocol


class LimitExceeded(PeerFault):
    """The remote sent, opened or held more of `what` than `limit` allows."""

    def __init__(self, what: str, limit: int, got: int | None = None, *, protocol: str = "") -> None:
        seen = "" if got is None else f", got {got}"
        super().__init__(f"{what}: at most {limit}{seen}", protocol=protocol)
        self.what = what
        self.limit = limit
        self.got = got


class CallerFault(FastmarketError, ValueError):
    """An argument is wrong: `field` names it, `reason` says why."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason


class Busy(CallerFault):
    """A bounded queue stayed full past the caller's deadline."""


class NoSuchOffer(CallerFault):
    """This node announces no such offer."""


class NoSuchGood(CallerFault):
    """This node sells nothing of that name, and has no such path."""


class NoSuchTab(CallerFault):
    """This node has no account with that peer."""


class Forbidden(CallerFault):
    """The caller may not do that with what `field` names."""


class Unmet(CallerFault):
    """A condition of the call is not met: a price above its limit, a part of the node that is not running.

    `code`: UPPER_SNAKE_CASE for programs that have another way to go on."""

    def __init__(self, field: str, reason: str, code: str = "UNMET") -> None:
        super().__init__(field, reason)
        self.code = code


class NetworkFault(FastmarketError):
    """Something between the nodes failed; trying again later may succeed."""

    def __init__(self, reason: str, *, peer: object = None) -> None:
        super().__init__(f"{peer}: {reason}" if peer is not None else reason)
        self.reason = reason
        self.peer = peer


class DialFailed(NetworkFault):
    """No address of the peer led to an authenticated connection.

    `failures`: the outcome for each address that was tried (`net.dial_reasons.Failure`).
    `gone`: true if every address refused, or another peer answered there; false if some did not answer.
    """

    failures: tuple[object, ...] = ()
    gone: bool = False


class ConnectionLost(NetworkFault):
    """The connection ended before the reply."""


class StreamFailed(NetworkFault):
    """The stream was refused or reset."""


class RequestTimeout(NetworkFault):
    """The deadline passed without a reply."""


class NotFound(NetworkFault):
    """The lookup ended without the value."""


class QuorumFailed(NetworkFault):
    """Fewer peers acknowledged than the quorum requires; what was stored stays stored. `why`: reasons given
    by the other peers, for people; empty if unknown."""

    def __init__(self, acknowledged: int, asked: int, wanted: int, why: str = "") -> None:
        counts = f"{acknowledged} of {asked} asked acknowledged, {wanted} wanted"
        super().__init__(f"{counts}: {why}" if why else counts)
        self.why = why
        self.acknowledged = acknowledged
        self.asked = asked
        self.wanted = wanted


class NodeFault(FastmarketError):
    """Our own failure: a bug, a full disk, a file that cannot be read."""


class StorageFault(NodeFault):
    """Nothing could be stored: the disk is full, or gone. What was stored before still is."""


class NotDurable(StorageFault):
    """The change is not on disk. The node keeps retrying by itself: an immediate retry is useless."""
