"""Servers that hang, not refuse: everything is found all the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.hung_servers import SERVERS, find_all, hang
from bench.local_network import network, register_all
from tests.conftest import Run

pytestmark = pytest.mark.e2e
CONTENTS = [f"content {number}" for number in range(40)]


def test_a_third_of_all_servers_hangs(run: Run[None], tmp_path: Path) -> None:
    async def main() -> None:
        with network(tmp_path, SERVERS) as servers:
            await register_all(servers[1], CONTENTS)
            hang(servers)
            for asked in (servers[1], servers[2]):  # one that has the offers itself, and one that may not
                found = await find_all(asked, CONTENTS)
                assert found.wrong == []

    run(main())
