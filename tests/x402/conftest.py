"""The chain of these tests; without the extra they are skipped."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from fastmarket.settlement.x402 import rpc

if TYPE_CHECKING:
    from tests.x402.chain import LocalChain

collect_ignore_glob: list[str] = []
try:
    import coincurve  # noqa: F401
    import eth_account  # noqa: F401
    import eth_tester  # noqa: F401
except ModuleNotFoundError:
    collect_ignore_glob = ["test_evm_*.py"]


@pytest.fixture
def chain(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalChain]:
    from tests.x402.chain import LocalChain

    monkeypatch.setattr(rpc, "TIMEOUT_S", 600.0)  # it is Python, on a machine that may be busy
    with LocalChain() as made:
        yield made
