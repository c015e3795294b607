"""A node's parts are entered in order and left in reverse, whatever one of them raises."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fastmarket import node_parts
from fastmarket.config import FleetConfig, HostConfig, MarketConfig, NodeConfig, PortMapConfig, WebConfig
from fastmarket.errors import CallerFault
from fastmarket.node import Node
from tests.conftest import Run
from tests.net.loopback import identity

pytest.importorskip("uvicorn")
pytest.importorskip("redis")
pytest.importorskip("opentelemetry.sdk")

ORDER = (
    *("memory", "disk", "fleet", "network", "port_mapping", "records", "peers", "tracing"),
    *("grpc", "webs", "measuring", "local_network", "joining"),
)
CONFIG = NodeConfig(
    host=HostConfig(listen=("/ip4/127.0.0.1/tcp/0",), mdns="on"),
    port_map=PortMapConfig(mode="auto"),  # of loopback nothing is mapped
    market=MarketConfig(port=0),
    fleet=FleetConfig(store="redis://127.0.0.1:1"),
    web=WebConfig(port=0, metrics_port=0, trace_endpoint="http://127.0.0.1:1"),
)


class Bug(Exception):
    """None that the package raises on purpose."""


class Watched:
    """Every part, with a note of when it is entered and left; `broken` raises at its begin or end."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, broken: str = "", *, at_end: bool = False) -> None:
        self.entered: list[str] = []
        self.left: list[str] = []
        self.broken = broken
        self.at_end = at_end
        for name in ORDER:
            monkeypatch.setattr(node_parts, name, self._watched(name, getattr(node_parts, name)))

    def _watched(self, name: str, part: Callable[..., Any]) -> Callable[..., Any]:
        @asynccontextmanager
        async def watched(*given: Any) -> AsyncIterator[Any]:
            if name == self.broken and not self.at_end:
                raise Bug
            async with part(*given) as value:
                self.entered.append(name)
                try:
                    yield value
                finally:
                    self.left.append(name)
                    if name == self.broken:
                        raise Bug

        return watched


def test_every_part_is_one_of_these() -> None:
    parts = {
        name
        for name, one in vars(node_parts).items()
        if getattr(one, "__module__", "") == node_parts.__name__ and hasattr(one, "__wrapped__")
    }
    assert parts - {"extra"} == set(ORDER)


def test_they_are_left_in_reverse_and_once(
    run: Run[None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    watched = Watched(monkeypatch)

    async def main() -> None:
        node = Node(CONFIG, identity(90), tmp_path)
        await node.start()
        assert tuple(watched.entered) == ORDER
        assert node.fleet is not None
        assert node.missing() != "starting"
        await node.stop()
        await node.stop()
        assert tuple(watched.left) == ORDER[::-1]

    run(main())


def test_a_node_without_extras_has_five_parts(run: Run[None], monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched(monkeypatch)

    async def main() -> None:
        host = HostConfig(listen=CONFIG.host.listen)
        config = replace(CONFIG, host=host, port_map=PortMapConfig(), fleet=FleetConfig(), web=WebConfig())
        async with Node(config, identity(91)):
            pass

    run(main())
    assert watched.entered == watched.left[::-1] == ["memory", "network", "grpc", "webs", "joining"]


@pytest.mark.parametrize("broken", ORDER)
def test_a_start_that_fails_leaves_what_was_entered(
    run: Run[None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, broken: str
) -> None:
    watched = Watched(monkeypatch, broken)

    async def main() -> None:
        node = Node(CONFIG, identity(92), tmp_path)
        with pytest.raises(Bug):
            await node.start()
        assert tuple(watched.entered) == ORDER[: ORDER.index(broken)]
        assert watched.left == watched.entered[::-1]
        await node.stop()
        watched.broken = ""
        async with node:  # the second try finds nothing in its way
            pass

    run(main())


@pytest.mark.parametrize("broken", ORDER)
def test_an_end_that_fails_keeps_no_other_from_ending(
    run: Run[None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, broken: str
) -> None:
    watched = Watched(monkeypatch, broken, at_end=True)

    async def main() -> None:
        node = Node(CONFIG, identity(93), tmp_path)
        await node.start()
        with pytest.raises(Bug):
            await node.stop()
        assert tuple(watched.left) == ORDER[::-1]
        await node.stop()

    run(main())


def test_a_port_in_use_ends_the_parts_before_it(
    run: Run[None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    watched = Watched(monkeypatch)

    async def main() -> None:
        async with Node(replace(CONFIG, web=WebConfig(), fleet=FleetConfig()), identity(94)) as there:
            port = int(there.grpc_address.rpartition(":")[2])
            watched.entered.clear()
            second = Node(replace(CONFIG, market=MarketConfig(port=port)), identity(95), tmp_path)
            with pytest.raises(CallerFault, match="port"):
                await second.start()
            assert watched.left == watched.entered[::-1]

    run(main())
