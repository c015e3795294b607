"""Connections that say nothing: they stay in the kernel, and leave the ports' places to others."""

from __future__ import annotations

import os
import socket
import stat
import sys
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import pytest

from fastmarket import deferred_accept
from fastmarket.config import ContentConfig, HostConfig, MarketConfig, NodeConfig, WebConfig
from fastmarket.deferred_accept import DEFER_S, defer_accept, defer_accept_at
from fastmarket.market.crowds import _fair_most
from fastmarket.node import Node
from tests.net.loopback import identity

SILENT = 50
needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="TCP_DEFER_ACCEPT is Linux's")


@pytest.fixture(autouse=True)
def _as_shipped(monkeypatch: pytest.MonkeyPatch) -> None:
    """What other tests are spared."""
    monkeypatch.setattr(deferred_accept, "DEFER_S", DEFER_S)


@needs_linux
def test_who_speaks_is_accepted_before_all_that_are_silent() -> None:
    with ExitStack() as stack:
        listening = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        defer_accept(listening)
        at = listening.getsockname()
        for _ in range(SILENT):
            stack.enter_context(socket.create_connection(at))
        speaker = stack.enter_context(socket.create_connection(at))
        speaker.sendall(b"hello")
        accepted, address = listening.accept()
        stack.enter_context(accepted)
        assert address == speaker.getsockname()
        assert accepted.recv(5) == b"hello"
        listening.setblocking(False)
        with pytest.raises(BlockingIOError):
            listening.accept()


def _listening() -> dict[int, int]:
    """By port: TCP_DEFER_ACCEPT of each listening socket of this process, in seconds."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            if not stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                continue
            one = socket.socket(fileno=os.dup(int(name)))
        except OSError:
            continue
        with one:  # gRPC's is one of IPv6 that takes IPv4, too
            if one.family in (socket.AF_INET, socket.AF_INET6) and one.getsockopt(
                socket.SOL_SOCKET, socket.SO_ACCEPTCONN
            ):
                found[one.getsockname()[1]] = one.getsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT)
    return found


@needs_linux
def test_every_port_of_a_node_leaves_the_silent_ones_to_the_kernel(run: Any) -> None:
    config = replace(
        NodeConfig(),
        host=HostConfig(listen=("/ip4/127.0.0.1/tcp/0",)),
        market=MarketConfig(port=0),
        web=WebConfig(port=0, metrics_port=0),
        content=ContentConfig(port=0),
    )

    async def main() -> None:
        before = _listening()
        async with Node(config, identity(1)) as node:
            endpoint = node.listen_addrs[0].host_port()
            assert endpoint is not None
            others = (node.grpc_address, node.http_address, node.metrics_address, node.content_url)
            ports = {endpoint.port} | {int(one.rstrip("/").rpartition(":")[2]) for one in others}
            assert len(ports) == 5
            now = _listening()
            assert set(now) - set(before) == ports
            assert all(now[port] > 0 for port in ports)

    run(main())


@needs_linux
def test_looking_for_a_port_keeps_no_descriptor() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        before = len(os.listdir("/proc/self/fd"))
        defer_accept_at(listening.getsockname()[1])
        assert len(os.listdir("/proc/self/fd")) == before
        assert listening.getsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT) > 0


@pytest.mark.parametrize(
    ("counts", "most_in_all", "most"),
    [
        ([5, 5], 10, 10),  # all have room
        ([300, 300, 3], 512, 254),  # those with few keep theirs
        ([1000], 512, 512),
        ([600, 1, 1, 1], 512, 509),
        ([1] * 600, 512, 1),
    ],
)
def test_addresses_with_many_give_way_to_those_with_few(
    counts: list[int], most_in_all: int, most: int
) -> None:
    assert _fair_most(counts, most_in_all) == most
    kept = [min(count, _fair_most(counts, most_in_all)) for count in counts]
    assert sum(kept) <= max(most_in_all, len(counts))
