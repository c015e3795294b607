"""JSON-RPC with a node of a chain, over HTTP. It waits: it is for a thread."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Sequence
from typing import Any

from fastmarket.errors import CallerFault, NetworkFault

TIMEOUT_S = 15.0
"""Of one request."""

MAX_ANSWER_BYTES = 4 << 20
MAX_BATCH = 100
"""Calls in one request: more are refused by some providers."""

Call = tuple[str, Sequence[Any]]


class RpcRefused(NetworkFault):
    """The node answered with an error."""


class ChainRpc:
    """One node. `http://` and `https://` alone: no file is opened, and no redirection followed."""

    def __init__(self, url: str) -> None:
        """Raises CallerFault("rpc")."""
        if not url.startswith(("http://", "https://")):
            raise CallerFault("rpc", "expects http:// or https://")
        self._url = url
        self._opener = urllib.request.build_opener(_NoRedirects)

    def call(self, method: str, *params: Any) -> Any:
        """One result. Raises NetworkFault; RpcRefused: the node's own refusal."""
        return self.batch([(method, params)])[0]

    def batch(self, calls: Sequence[Call]) -> list[Any]:
        """All results, in the order of the calls. Raises NetworkFault."""
        results: list[Any] = []
        for at in range(0, len(calls), MAX_BATCH):
            results.extend(self._batch(calls[at : at + MAX_BATCH]))
        return results

    def _batch(self, calls: Sequence[Call]) -> list[Any]:
        asked = [
            {"jsonrpc": "2.0", "id": number, "method": method, "params": list(params)}
            for number, (method, params) in enumerate(calls)
        ]
        told = self._post(asked[0] if len(asked) == 1 else asked)
        answers = told if isinstance(told, list) else [told]
        by_id = {one.get("id"): one for one in answers if isinstance(one, dict)}
        if len(answers) == 1 and len(asked) > 1 and "error" in by_id.get(None, {}):
            raise RpcRefused(_reason(by_id[None]))  # it takes no batches
        results = []
        for number in range(len(asked)):
            answer = by_id.get(number, {})
            if "error" in answer:
                raise RpcRefused(_reason(answer))
            if "result" not in answer:
                raise NetworkFault("the chain's node did not answer each call")
            results.append(answer["result"])
        return results

    def _post(self, asked: object) -> object:
        headers = {"Content-Type": "application/json", "User-Agent": "fastmarket"}
        request = urllib.request.Request(self._url, json.dumps(asked).encode(), headers)
        try:
            with self._opener.open(request, timeout=TIMEOUT_S) as answer:
                raw = answer.read(MAX_ANSWER_BYTES + 1)
        except (OSError, ValueError, urllib.error.HTTPError) as error:
            raise NetworkFault(f"the chain's node cannot be reached: {_without(self._url, error)}") from None
        if len(raw) > MAX_ANSWER_BYTES:
            raise NetworkFault(f"the chain's node answered more than {MAX_ANSWER_BYTES} bytes")
        try:
            return json.loads(raw)
        except (ValueError, RecursionError):
            raise NetworkFault("the chain's node did not answer with JSON") from None


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        """The URL may have a key in it, which is not for others."""


def _reason(answer: dict[str, Any]) -> str:
    error = answer["error"]
    message = error.get("message") if isinstance(error, dict) else error
    return f"the chain's node refuses: {str(message)[:200]}"


def _without(url: str, error: Exception) -> str:
    """The error's text without the URL, which may have a key in it."""
    return str(error).replace(url, "its URL")[:200]
