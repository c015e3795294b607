"""What is ended when the machine's network has changed."""

from __future__ import annotations

import pytest

from fastmarket.net import network_watch
from fastmarket.net.network_watch import SLEPT_S, NetworkWatch
from tests.conftest import Run
from tests.net.loopback import nodes, seed, until


@pytest.mark.parametrize("slept_s", [0.0, SLEPT_S])
def test_connections_within_the_machine_stay(
    run: Run[None], monkeypatch: pytest.MonkeyPatch, slept_s: float
) -> None:
    async def main() -> None:
        async with nodes(2) as (one, other):
            link = await one.host.connect(seed(other))
            watch = NetworkWatch(one.host)
            told: list[None] = []
            watch.on_changed.append(lambda: told.append(None))
            watch.start()
            try:
                monkeypatch.setattr(network_watch, "interface_addresses", lambda: ["192.0.2.1"])
                monkeypatch.setattr(network_watch, "_slept_s", lambda: watch._slept_s + slept_s)
                watch._look()
                assert told
                assert one.host.link_to(other.peer_id) is link
                monkeypatch.setattr(type(link), "local_ip", "192.0.2.9")
                monkeypatch.setattr(network_watch, "interface_addresses", lambda: ["192.0.2.2"])
                watch._look()
                await until(lambda: one.host.link_to(other.peer_id) is not link)
            finally:
                await watch.stop()

    run(main())
