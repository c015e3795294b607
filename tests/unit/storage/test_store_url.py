"""Where a fleet's engine is: what is read of the URL, and that a password is never told."""

from __future__ import annotations

import pytest

from fastmarket.errors import CallerFault
from fastmarket.storage.store_url import StoreUrl


def test_hosts_user_and_file() -> None:
    url = StoreUrl.parse("rediss://me:a%20word@a.example,[::1]:7?ca_file=/x")
    assert url.hosts == (("a.example", 6379), ("::1", 7))
    assert (url.tls, url.username, url.password, url.ca_file) == (True, "me", "a word", "/x")
    assert url.shown == "rediss://me:***@a.example:6379,[::1]:7"


@pytest.mark.parametrize(
    "text",
    [
        "redis://[",
        "redis://me:secret@[::1",
        "redis://[me:secret@h]",
        "redis://me:secret@[1]",
        "redis://me:secret@[::1]:99999",
        "redis://me:secret@",
        "redis://me:secret@h/path",
        "http://me:secret@h",
    ],
)
def test_what_is_not_such_a_url_is_a_fault_of_the_caller_without_the_password(text: str) -> None:
    with pytest.raises(CallerFault) as caught:
        StoreUrl.parse(text)
    assert type(caught.value) is CallerFault
    assert caught.value.field == "store"
    assert "secret" not in str(caught.value)
