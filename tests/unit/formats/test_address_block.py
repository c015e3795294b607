"""What callers and connections are counted under."""

from __future__ import annotations

import pytest

from fastmarket.formats.address_block import address_block


@pytest.mark.parametrize(
    ("host", "block"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:0:1ff::1", "2001:db8:0:100::/56"),
        ("2001:db8:0:100:9::", "2001:db8:0:100::/56"),
        ("fe80::1%eth0", "fe80::/56"),
        ("::1", "::1"),
        ("unix", "unix"),
        ("", ""),
    ],
)
def test_address_block(host: str, block: str) -> None:
    assert address_block(host) == block
