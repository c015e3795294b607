"""The gateway without I/O: a request in, the plan of an answer out."""

from __future__ import annotations

from collections.abc import Callable

from fastmarket.content.place import FileMoved
from fastmarket.content.port.asked import Asked
from fastmarket.content.port.blocks import block_answer
from fastmarket.content.port.cars import car_answer
from fastmarket.content.port.cashier import Cashier
from fastmarket.content.port.conditions import only_if_cached
from fastmarket.content.port.dag_nodes import DagNodes
from fastmarket.content.port.files import file_answer
from fastmarket.content.port.messages import GatewayAnswer, GatewayRequest, RequestRefused
from fastmarket.content.port.negotiation import AnswerForm, wanted_form
from fastmarket.content.port.resolving import NOT_HERE, resolve
from fastmarket.content.port.targets import parse_target
from fastmarket.content.source import BlockSource

ALLOWED = "GET, HEAD, OPTIONS"
TEXT = "text/plain; charset=utf-8"


class Gateway:
    """Answers requests out of a source. It never asks anybody else: what is not here is 404."""

    def __init__(self, source: BlockSource, cashier: Cashier | None = None) -> None:
        """`cashier`: takes payments; None: everything is given away."""
        self._source = source
        self._cashier = cashier
        self._nodes = DagNodes(source)

    def holds(self, request: GatewayRequest, wake: Callable[[], None]) -> bool:
        """Whether a request cannot be answered yet; `wake` is called when it can."""
        return self._cashier is not None and self._cashier.holds(request, wake)

    def answer(self, request: GatewayRequest) -> GatewayAnswer:
        """The answer; its body is not begun. A request that is refused has one, too."""
        try:
            answer = self._answer(request)
        except RequestRefused as refused:
            answer = refusal(refused)
        except FileMoved:
            answer = refusal(RequestRefused(404, NOT_HERE))
        if request.method == "HEAD":
            answer.body = None
        return answer

    def _answer(self, request: GatewayRequest) -> GatewayAnswer:
        if request.method == "OPTIONS":
            return GatewayAnswer(204, [("Allow", ALLOWED), ("Access-Control-Max-Age", "86400")])
        if request.method not in ("GET", "HEAD"):
            raise method_refused()
        target = parse_target(request.target)
        wanted = wanted_form(target.query, request.headers.get("accept"))
        if only_if_cached(request.headers) and self._nodes.place(target.root) is None:
            raise RequestRefused(412, NOT_HERE)
        asked = Asked(request, target, resolve(self._nodes, target), wanted.parameters)
        if wanted.form is AnswerForm.RAW:
            return block_answer(self._nodes, asked, self._cashier)
        if self._cashier is not None and asked.found.end.inline is None:
            self._cashier.check_whole(asked.found.end.multihash)
        if wanted.form is AnswerForm.CAR:
            return car_answer(self._nodes, asked)
        return file_answer(self._source, self._nodes, asked)


def method_refused() -> RequestRefused:
    """The refusal of a method that changes something."""
    return RequestRefused(405, "this port answers GET and HEAD", (("Allow", ALLOWED),))


def refusal(refused: RequestRefused) -> GatewayAnswer:
    """The answer to a request that is refused."""
    text = f"{refused.reason}\n".encode()
    headers = [("Content-Type", TEXT), *refused.headers]
    return GatewayAnswer(refused.status, headers, iter((text,)), len(text))
