"""What the engine wants its shell to do, and what it reports.

Plain classes, like everything created per request: a frozen dataclass takes three times as long.
"""

from __future__ import annotations

from fastmarket.formats.choice import Choice
from fastmarket.formats.peer_info import PeerInfo


class SendRequest:
    """Send one request to `peer`: in the first protocol of `choices` that it speaks, over an open or a new
    connection.

    The shell answers exactly once, with `Engine.handle_reply` or `Engine.handle_failure`, by `deadline` (unix
    seconds) at the latest. A choice that expects no reply is answered with an empty payload once it is
    written.

    `token` is the job's own; `request_id`, `deadline` and `job_id` are set by the runner.
    """

    __slots__ = ("choices", "deadline", "job_id", "peer", "request_id", "timeout_s", "token")

    def __init__(self, token: int, peer: PeerInfo, choices: tuple[Choice, ...], timeout_s: float) -> None:
        self.token = token
        self.peer = peer
        self.choices = choices
        self.timeout_s = timeout_s
        self.request_id = 0
        self.deadline = 0.0
        self.job_id = 0

    def expects_reply(self, protocol: str) -> bool:
        """Whether a reply is expected in the protocol that was used."""
        for choice in self.choices:
            if choice.protocol == protocol:
                return choice.expects_reply
        return False


class Turn:
    """Whether what was received requires a look at the whole node: for actions, events, earlier timers."""

    __slots__ = ("is_wanted",)

    def __init__(self) -> None:
        self.is_wanted = False


class JobProgress:
    """An item of progress of a running job."""

    __slots__ = ("item", "job_id")

    def __init__(self, job_id: int, item: object) -> None:
        self.job_id = job_id
        self.item = item

    def __eq__(self, other: object) -> bool:
        return isinstance(other, JobProgress) and (self.job_id, self.item) == (other.job_id, other.item)


class JobFinished:
    """The end of a job, whose id is no longer valid afterwards."""

    __slots__ = ("job_id", "result")

    def __init__(self, job_id: int, result: object) -> None:
        self.job_id = job_id
        self.result = result

    def __eq__(self, other: object) -> bool:
        return isinstance(other, JobFinished) and (self.job_id, self.result) == (other.job_id, other.result)


class JobFault:
    """A bug of ours in a job, possibly one of the engine's own, which make no other events. If it `ended` the
    job, the job's id is no longer valid; otherwise it cost only the reply that triggered it."""

    __slots__ = ("ended", "error", "job_id", "kind")

    def __init__(self, job_id: int, kind: str, error: Exception, ended: bool) -> None:
        self.job_id = job_id
        self.kind = kind  # the job's class
        self.error = error
        self.ended = ended
