"""A peer asked over Bitswap as one holder of a fetch."""

from __future__ import annotations

from functools import partial

from fastmarket.errors import CallerFault
from fastmarket.exchange.bitswap.client import AskFailed, AskOutcome, BlockAbsent, BlockSent
from fastmarket.exchange.fetching.events import Ask
from fastmarket.exchange.fetching.holder import AskFailure
from fastmarket.formats.choice import FailureKind
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.net.bitswap.exchange import BitswapExchange
from fastmarket.net.fetching.holders import BlockAnswers

_GRACE_S = 1.0  # after its deadline the fetch drops the request by itself


_FAILURES = {
    FailureKind.TIMEOUT: AskFailure.LOST,
    FailureKind.UNREACHABLE: AskFailure.UNREACHABLE,
    FailureKind.GONE: AskFailure.GONE,
    FailureKind.REFUSED: AskFailure.REFUSED,
    FailureKind.RESET: AskFailure.LOST,
    FailureKind.PEER_FAULT: AskFailure.MALFORMED,
    FailureKind.CLOSED: AskFailure.LOST,
    FailureKind.BUSY: AskFailure.BUSY,
}
_DETAILS = {
    FailureKind.REFUSED: "it does not speak Bitswap",
    FailureKind.PEER_FAULT: "it sent a block that it was not asked for",
}


class BitswapHolder:
    """A `net.fetching.holders.BlockHolder`: one peer, during one fetch. A block that it passes on has the
    hash of the CID that was asked for."""

    def __init__(self, exchange: BitswapExchange, peer: PeerInfo, answers: BlockAnswers) -> None:
        self._exchange = exchange
        self._peer = peer
        self._answers = answers
        self._asked: dict[int, int] = {}  # asks of the exchange, by request

    @property
    def source(self) -> str:
        """For people."""
        return "bitswap"

    def ask(self, ask: Ask) -> None:
        """Asks for a block; the fetch drops the request when it has waited long enough."""
        on_outcome = partial(self._on_outcome, ask)
        try:
            number = self._exchange.ask(self._peer, ask.cid, ask.deadline + _GRACE_S, on_outcome)
        except CallerFault as fault:
            self._answers.on_failure(ask.request, AskFailure.REFUSED, str(fault))
        else:
            self._asked[ask.request] = number

    def drop(self, request: int) -> None:
        """The block is no longer wanted: no answer follows. An unknown number is ignored."""
        number = self._asked.pop(request, None)
        if number is not None:
            self._exchange.cancel(number)

    async def close(self) -> None:
        """Drops everything."""
        for request in tuple(self._asked):
            self.drop(request)

    def _on_outcome(self, ask: Ask, outcome: AskOutcome) -> None:
        del self._asked[ask.request]
        if isinstance(outcome, BlockSent):
            if len(outcome.block) > ask.most_bytes:
                self._answers.on_failure(ask.request, AskFailure.OVERSIZED, f"{len(outcome.block)} bytes")
            else:
                self._answers.on_block(ask.request, outcome.block)
        elif isinstance(outcome, BlockAbsent):
            self._answers.on_missing(ask.request)
        elif isinstance(outcome, AskFailed):
            detail = _DETAILS.get(outcome.kind, outcome.kind.value)
            self._answers.on_failure(ask.request, _FAILURES[outcome.kind], detail)
