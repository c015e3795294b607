"""Who may write over HTTP."""

from __future__ import annotations

import base64
import hashlib

import pytest
from starlette.requests import Request

from fastmarket.market.access import AccessScope, Token, Tokens
from fastmarket.web.write_access import FORWARDED, WriteAccess

WRITE, READ = "a token that may write", "a token that may read"
TOKENS = Tokens(
    Token(hashlib.sha256(secret.encode()).digest(), scope)
    for secret, scope in ((WRITE, AccessScope.WRITE), (READ, AccessScope.READ))
)


def status(
    access: WriteAccess, headers: dict[str, str] | None = None, client: str | None = "127.0.0.1"
) -> int | None:
    """None: it may write."""
    sent = {"host": "127.0.0.1:8081", **(headers or {})}
    scope = {
        "type": "http",
        "method": "PUT",
        "scheme": "http",
        "path": "/routing/v1/ipns/k51",
        "query_string": b"",
        "server": ("127.0.0.1", 8081),
        "client": None if client is None else (client, 4000),
        "headers": [(name.encode(), value.encode()) for name, value in sent.items()],
    }
    refusal = access.refusal(Request(scope))
    return None if refusal is None else refusal.status


def basic(user: str, password: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


@pytest.mark.parametrize(
    ("headers", "client", "expected"),
    [
        ({}, "127.0.0.1", None),
        ({}, "::1", None),
        ({"host": "localhost:8081"}, "127.0.0.1", None),
        ({"host": "[::1]:8081"}, "::1", None),
        ({}, "192.0.2.7", 403),
        ({}, None, 403),
        ({"host": "rebound.example"}, "127.0.0.1", 421),
        ({"host": "[rubbish"}, "127.0.0.1", 421),
        *(({name: "192.0.2.7"}, "127.0.0.1", 403) for name in FORWARDED),
    ],
)
def test_without_tokens_programs_of_this_machine_may(
    headers: dict[str, str], client: str | None, expected: int | None
) -> None:
    assert status(WriteAccess(), headers, client) == expected


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, 401),
        ({"authorization": "Bearer another one altogether"}, 401),
        ({"authorization": f"Bearer {READ}"}, 403),
        ({"authorization": f"Bearer {WRITE}"}, None),
        (basic("kubo", WRITE), None),
        (basic("kubo", READ), 403),
        ({"authorization": "Basic rubbish!"}, 401),
        ({"authorization": "Digest " + WRITE}, 401),
    ],
)
@pytest.mark.parametrize("client", ["127.0.0.1", "192.0.2.7"])
def test_with_tokens_it_takes_one_that_may_write(
    headers: dict[str, str], expected: int | None, client: str
) -> None:
    assert status(WriteAccess(TOKENS), headers, client) == expected


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": "https://elsewhere.example"},
        {"origin": "null"},
    ],
)
@pytest.mark.parametrize("access", [WriteAccess(), WriteAccess(TOKENS)])
def test_pages_of_other_sites_may_not(headers: dict[str, str], access: WriteAccess) -> None:
    assert status(access, {"authorization": f"Bearer {WRITE}", **headers}) == 403


def test_a_page_of_our_own_may() -> None:
    headers = {"sec-fetch-site": "same-origin", "origin": "http://127.0.0.1:8081"}
    assert status(WriteAccess(), headers) is None
