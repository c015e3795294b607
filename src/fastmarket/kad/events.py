"""What the engine asks of its shell, and what it reports.

Plain classes, as all that is made for every request: a frozen dataclass takes three times as long to make.
"""

from __future__ import annotations

from fastmarket.formats.choice import Choice
from fastmarket.formats.peer_info import PeerInfo


class SendRequest:
    """Put one request to `peer`: the first of `choices` it speaks, over a kept or a new connection.

    The shell answers exactly once, by `Engine.handle_reply` or `Engine.handle_failure`, at the latest at
    `deadline` (unix seconds). A choice that expects no reply is answered with an empty payload once written.

    The job that wants it sent has a `token` of its own for it; number, deadline and job are the runner's.
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
        """Whether it does in the protocol it went out in."""
        for choice in self.choices:
            if choice.protocol == protocol:
                return choice.expects_reply
        return False


class JobProgress:
    """Something found while the job goes on."""

    __slots__ = ("item", "job_id")

    def __init__(self, job_id: int, item: object) -> None:
        self.job_id = job_id
        self.item = item

    def __eq__(self, other: object) -> bool:
        return isinstance(other, JobProgress) and (self.job_id, self.item) == (other.job_id, other.item)


class JobFinished:
    """The job's last word; its id means nothing afterwards."""

    __slots__ = ("job_id", "result")

    def __init__(self, job_id: int, result: object) -> None:
        self.job_id = job_id
        self.result = result

    def __eq__(self, other: object) -> bool:
        return isinstance(other, JobFinished) and (self.job_id, self.result) == (other.job_id, other.result)


class JobFault:
    """A bug of ours in a job, one of the engine's own perhaps, which make no other events. Where it `ended`
    the job, its id means nothing afterwards; else it cost the one reply that it came with."""

    __slots__ = ("ended", "error", "job_id", "kind")

    def __init__(self, job_id: int, kind: str, error: Exception, ended: bool) -> None:
        self.job_id = job_id
        self.kind = kind  # the job's class
        self.error = error
        self.ended = ended
