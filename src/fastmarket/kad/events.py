"""What the engine asks of its shell, and what it reports."""

from __future__ import annotations

from dataclasses import dataclass

from fastmarket.formats.choice import Choice
from fastmarket.formats.peer_info import PeerInfo


# Not frozen: one of these is made for each request, and a frozen one takes three times as long to make.
@dataclass(slots=True)
class SendRequest:
    """Put one request to `peer`: the first of `choices` it speaks, over a kept or a new connection.

    The shell answers exactly once, by `Engine.receive_reply` or `Engine.request_failed`, at the latest at
    `deadline` (unix seconds). A choice that expects no reply is answered with an empty payload once written.
    """

    request_id: int
    peer: PeerInfo
    choices: tuple[Choice, ...]
    deadline: float


@dataclass(frozen=True, slots=True)
class JobProgress:
    """Something found while the job goes on."""

    job_id: int
    item: object


@dataclass(frozen=True, slots=True)
class JobFinished:
    """The job's last word; its id means nothing afterwards."""

    job_id: int
    result: object
