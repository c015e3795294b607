from __future__ import annotations

import pytest

from fastmarket.formats.dns_name import ascii_name
from fastmarket.formats.multiaddr import Multiaddr


# IDNA 2003 would say "strasse", and drop the joiner: other names, which may be others'.
@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("stra\u00dfe.example", "xn--strae-oqa.example"),
        ("fa\u00df.example", "xn--fa-hia.example"),
        ("\u03b2\u03cc\u03bb\u03bf\u03c2.example", "xn--nxasmm1c.example"),  # with a final sigma (UTS 46)
        ("\u0dc1\u0dca\u200d\u0dbb\u0dd3.example", "xn--10cl1a0b660p.example"),  # with a joiner (UTS 46)
        ("B\u00fccher.EXAMPLE", "xn--bcher-kva.example"),
        ("\u65e5\u672c\u8a9e\u3002jp", "xn--wgv71a119e.jp"),  # the ideographic full stop separates, too
        ("_dnsaddr.b\u00fccher.example", "_dnsaddr.xn--bcher-kva.example"),
        ("a.example.", "a.example."),
        ("A_b.example", "A_b.example"),
        ("xn--strae-oqa.example", "xn--strae-oqa.example"),
    ],
)
def test_a_name_becomes_what_a_resolver_is_asked_for(name: str, asked: str) -> None:
    assert ascii_name(name) == asked


@pytest.mark.parametrize(
    "name",
    [
        *("", ".", "a..b", ".a", "a.\u00fc..b", "\u2603.example", "\u200d.\u00fc", "a\u0301\u05d0.example"),
        *("a" * 64, "\u00fc" * 60, "a." * 126 + "ab", "\ud800\u00fc.example"),
    ],
)
def test_names_that_no_resolver_takes(name: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - whichever says so
        ascii_name(name)
    if name and name.isprintable():
        assert Multiaddr.from_text(f"/dns4/{name}/tcp/1").host_port() is None
