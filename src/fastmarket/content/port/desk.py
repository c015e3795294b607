"""Where the requests of all connections are answered, and counted."""

from __future__ import annotations

import time
from collections.abc import Callable
from email.utils import formatdate

from fastmarket.content.port.bounds import RETRY_AFTER_S
from fastmarket.content.port.gateway import Gateway, refusal
from fastmarket.content.port.messages import GatewayAnswer, GatewayRequest, RequestRefused
from fastmarket.content.port.tally import PortTally


def too_many(what: str) -> RequestRefused:
    """The refusal of one request too many."""
    return RequestRefused(429, f"too many {what}; try again later", (("Retry-After", str(RETRY_AFTER_S)),))


class AnswerDesk:
    """Limits the answers under way to `max_requests`."""

    def __init__(
        self,
        gateway: Gateway,
        tally: PortTally,
        max_requests: int,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._gateway = gateway
        self._max_requests = max_requests
        self._wall_clock = wall_clock
        self._date = (-1, "")
        self.tally = tally

    def holds(self, request: GatewayRequest, wake: Callable[[], None]) -> bool:
        """Whether a request waits for the disk before `begin`; `wake` is called when it has waited enough."""
        return self._gateway.holds(request, wake)

    def begin(self, request: GatewayRequest) -> GatewayAnswer:
        """Starts an answer; `end` must follow."""
        if self.tally.running >= self._max_requests:
            return self.refuse(too_many("requests"))
        return self._begun(self._gateway.answer(request))

    def refuse(self, refused: RequestRefused) -> GatewayAnswer:
        """Starts a refusal; `end` must follow."""
        return self._begun(refusal(refused))

    def end(self, *, whole: bool) -> None:
        """Of an answer that was begun."""
        self.tally.running -= 1
        if not whole:
            self.tally.aborted += 1

    def date(self) -> str:
        """For the Date header."""
        now = int(self._wall_clock())
        if self._date[0] != now:
            self._date = now, formatdate(now, usegmt=True)
        return self._date[1]

    def _begun(self, answer: GatewayAnswer) -> GatewayAnswer:
        counts = self.tally.requests
        counts[answer.status] = counts.get(answer.status, 0) + 1
        self.tally.running += 1
        return answer
