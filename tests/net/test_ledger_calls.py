"""What a node was paid and pays, asked over gRPC: in pages, by those that may write alone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fastmarket.config import AccessConfig, HostConfig, MarketConfig, NodeConfig, PaymentConfig
from fastmarket.errors import CallerFault, NodeFault, NotFound
from fastmarket.market import client_accounting
from fastmarket.market.client_accounting import DebtView
from fastmarket.market.grpc_client import MarketClient
from fastmarket.node import Node
from fastmarket.storage.tabs import TabDatabase
from tests.net.loopback import identity
from tests.net.test_access import READ, WRITE
from tests.net.test_read_tokens import with_tokens
from tests.unit.storage.test_tabs import BUYER, SELLER

NOVEMBER, DECEMBER = 1_795_000_000.0, 1_796_500_000.0
PEERS = [identity(number).peer_id for number in range(7)]


@asynccontextmanager
async def ledger(directory: Path, tokens: str = "", *, paid: bool = True) -> AsyncIterator[Node]:
    config = NodeConfig(
        host=HostConfig(listen=("/ip4/127.0.0.1/tcp/0",)),
        market=MarketConfig(port=0),
        access=AccessConfig(tokens=tokens),
        payments=PaymentConfig(required=paid, budget_per_day=500),
    )
    async with Node(config, identity(100), directory) as node:
        yield node


def put_tabs(directory: Path) -> None:
    """Five buyers and two sellers, some in two months."""
    database = TabDatabase(directory)
    buyers = [replace(BUYER, buyer=peer.raw, paid_amount=10, is_blocked=False) for peer in PEERS[:5]]
    sellers = [replace(SELLER, seller=peer.raw) for peer in PEERS[5:]]
    database.write([replace(one, owed=()) for one in buyers[:2]], NOVEMBER)
    database.write([replace(one, paid_bytes=5, paid_amount=20) for one in buyers[:1]], DECEMBER)
    database.write([*buyers[2:], *sellers], DECEMBER)
    database.close()


def test_tabs_and_statements_come_whole_in_pages(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_tabs(tmp_path)

    async def main() -> None:
        async with ledger(tmp_path) as node, MarketClient(node.grpc_address) as client:
            whole = [one async for one in client.list_tabs()]
            assert [one.side for one in whole] == ["sold"] * 5 + ["bought"] * 2
            assert {one.peer_id for one in whole} == set(map(str, PEERS))
            lines = [one async for one in client.statement("all")]
            assert len(lines) == 8
            for tab in whole:
                mine = [one for one in lines if (one.side, one.peer_id) == (tab.side, tab.peer_id)]
                assert sum(one.amount for one in mine) == tab.signed.amount
                assert sum(one.bytes for one in mine) == tab.signed.bytes
            for size in (1, 2, 3):
                monkeypatch.setattr(client_accounting, "PAGE", size)
                assert [one async for one in client.list_tabs()] == whole
                assert [one async for one in client.statement("all")] == lines
            november = [one async for one in client.statement("2026-11")]
            assert [one.month for one in november] == ["2026-11"] * 2
            assert [one async for one in client.statement("2020-01")] == []
            owing = {one.peer_id for one in [one async for one in client.list_tabs(owing=True)]}
            assert owing == {str(peer) for peer in (PEERS[0], *PEERS[2:])}
            told = await client.get_ledger()
            sold, bought = told.totals
            assert (sold.tabs, sold.signed.amount, sold.unpaid, sold.lost) == (
                5,
                60,
                DebtView(20, 4),
                DebtView(28, 4),
            )
            assert (bought.tabs, bought.signed.amount) == (2, 2 * SELLER.paid_amount)
            assert (told.currency, told.budget_per_day, told.spent_today) == ("unit", 500, 0)
            for month in ("2026", "2026-13", "x", "2026-11-01"):
                with pytest.raises(CallerFault, match="month"):
                    _ = [one async for one in client.statement(month)]

    run(main())


def test_what_is_forgiven_and_who_is_blocked_stays_so(run: Any, tmp_path: Path) -> None:
    put_tabs(tmp_path)
    stranger = str(identity(200).peer_id)

    async def main() -> None:
        async with ledger(tmp_path) as node, MarketClient(node.grpc_address) as client:
            assert await client.forgive(str(PEERS[2])) == DebtView(12, 1)
            with pytest.raises(NotFound, match="nothing was sold"):
                await client.forgive(stranger)
            with pytest.raises(CallerFault, match="peer_id"):
                await client.forgive("nobody")
            await client.block(str(PEERS[3]))
            await client.block(stranger)
            await client.block(str(PEERS[4]))
            await client.block(str(PEERS[4]), blocked=False)
        async with ledger(tmp_path) as node, MarketClient(node.grpc_address) as client:
            found = {one.peer_id: one async for one in client.list_tabs()}
            assert {peer for peer, tab in found.items() if tab.blocked} == {str(PEERS[3]), stranger}
            assert found[str(PEERS[2])].unpaid == found[str(PEERS[2])].lost == DebtView(0, 0)
            assert found[str(PEERS[3])].lost == DebtView(
                12, 1
            )  # long ago, and it counts when it is looked at

    run(main())


def test_only_those_that_may_write_see_the_ledger(run: Any, tmp_path: Path) -> None:
    put_tabs(tmp_path)
    tokens = with_tokens(tmp_path)

    async def main() -> None:
        async with ledger(tmp_path, tokens) as node:
            async with MarketClient(node.grpc_address, token=WRITE) as client:
                assert (await client.get_ledger()).totals
            async with MarketClient(node.grpc_address, token=READ) as client:
                for call in (
                    client.get_ledger(),
                    client.list_tabs().__anext__(),
                    client.statement().__anext__(),
                    client.forgive(str(PEERS[0])),
                    client.block(str(PEERS[0])),
                ):
                    with pytest.raises(NodeFault, match="this token may not call"):
                        await call

    run(main())


def test_a_node_without_payments_says_so(run: Any, tmp_path: Path) -> None:
    async def main() -> None:
        async with ledger(tmp_path, paid=False) as node, MarketClient(node.grpc_address) as client:
            with pytest.raises(CallerFault, match="--payments"):
                await client.get_ledger()

    run(main())
