"""Two programs, a chain and a file: what one buys of the other is in its balance in the end."""

from __future__ import annotations

import random
import time
from dataclasses import replace
from pathlib import Path

import pytest

from fastmarket.cli import deposits
from fastmarket.cli.processes import ServerProcess
from fastmarket.settlement.interface import ClaimResult
from fastmarket.settlement.x402.encoding import checksummed, word
from fastmarket.settlement.x402.plugin import X402Settlement
from fastmarket.settlement.x402.settings import read_settings
from fastmarket.storage.tab_scan import newest_receipts
from fastmarket.storage.tabs import FILE, TabDatabase
from tests.e2e.conftest import Run, Servers, run_client, servers  # noqa: F401 - fixtures
from tests.x402.chain import MINT, NOTICE_S, LocalChain, key

UNITS = 1000
PRICE = 3
DEPOSITED = 500
SMALL, LARGE = 700_000, 9 * 256 * 1024
DEADLINE_S = 240.0  # ends what never comes


def settings_of(chain: LocalChain, directory: Path, number: int) -> Path:
    """A wallet with its settings."""
    directory.mkdir()
    chain.fund(key(number))
    secret = directory / "evm.key"
    secret.write_text(key(number)._key.secret.hex())
    secret.chmod(0o600)
    path = directory / "x402.toml"
    addresses = {"contract": chain.contract, "token": chain.token}
    lines = [f'rpc = "{chain.url}"', f"chain_id = {chain.chain_id}", f"units = {UNITS}", 'key = "evm.key"']
    lines += [f'{name} = "{checksummed(address)}"' for name, address in addresses.items()]
    path.write_text("\n".join(lines))
    return path


def id_of(node: ServerProcess) -> str:
    return node.address.rpartition("/")[2]


def test_a_purchase_is_in_the_sellers_balance(
    chain: LocalChain,
    servers: Servers,  # noqa: F811
    run_client: Run,  # noqa: F811
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    files = {
        name: settings_of(chain, tmp_path / name, number) for number, name in enumerate(("sold", "bought"), 1)
    }
    nodes = {}
    for name, more in (("sold", ("--content-port", "0")), ("bought", ())):
        home = ("--payments", "--settlement", f"x402={files[name]}", "--data-dir", str(tmp_path / name))
        nodes[name] = servers.start(*home, *more, join=nodes.get("sold"))
    seller, buyer = nodes["sold"], nodes["bought"]
    cids = []
    for name, size in (("small", SMALL), ("large", LARGE)):
        (tmp_path / name).write_bytes(random.Random(size).randbytes(size))
        done = run_client("-p", seller.port, "sell", str(tmp_path / name), "--price", str(PRICE))
        assert done.status == 0, done
        cids.append(done.out.strip())
    done = run_client("-p", buyer.port, "get", cids[0], "-o", "got-small", "-y")
    assert done.status == 0, done  # as a stranger

    def deposit_command(*words: str) -> str:
        told = [str(files["bought"]), "--data-dir", str(tmp_path / "bought"), *words]
        assert deposits.main(told) == 0
        return capsys.readouterr().out

    def owed_after(seller: ServerProcess, buyer: ServerProcess, cid: str) -> str:
        """What is not well after the file was bought, once more perhaps."""
        (tmp_path / "got-large").unlink(missing_ok=True)
        done = run_client("-p", buyer.port, "get", cid, "-o", "got-large", "-y")
        if done.status:
            return done.err
        (tab,) = run_client("-p", seller.port, "owed", "--json").json["tabs"]
        return f"{tab['unpaid']} unpaid" if tab["unpaid"]["bytes"] else ""

    assert "deposited 0, signed 3, claimed 0" in deposit_command("status")
    chain.send(key(2), chain.token, MINT + word(key(2).address) + word(DEPOSITED * UNITS))
    deposit_command("deposit", id_of(seller), str(DEPOSITED))
    until = time.monotonic() + DEADLINE_S
    while unpaid := owed_after(seller, buyer, cids[1]):
        assert time.monotonic() < until, unpaid  # the seller looks again, and takes receipts then
    assert (tmp_path / "got-large").read_bytes() == (tmp_path / "large").read_bytes()
    assert (seller.terminate(), buyer.terminate()) == (0, 0)

    database = TabDatabase(tmp_path / "sold")
    (row,) = database.buyers()
    database.close()
    assert row.paid_bytes >= SMALL + LARGE
    settlement = X402Settlement(read_settings(files["sold"]), key(1))
    receipts = list(newest_receipts(tmp_path / "sold" / FILE, 0))
    (outcome,) = settlement.claim(receipts, time.time())
    assert outcome.result in (ClaimResult.CLAIMED, ClaimResult.CURRENT)  # the node may have claimed by itself
    assert chain.balance(key(1).address) == row.paid_amount * UNITS
    (stale,) = settlement.claim([replace(receipts[0], valid_until=0)], time.time())
    assert stale.result is ClaimResult.REFUSED

    left = DEPOSITED - row.paid_amount
    assert f"{left} can be taken back" in deposit_command("withdraw", id_of(seller))
    assert f"left {left}, {left} leaving" in deposit_command("status")
    chain.wait(NOTICE_S + 1)
    with pytest.raises(SystemExit):
        deposit_command("withdraw", id_of(seller))  # by the clock here it is too soon
    own = deposits.OwnDeposits(read_settings(files["bought"]), key(2), tmp_path / "bought" / FILE)
    assert "taken back" in own.withdraw(id_of(seller), chain.now)
    assert chain.balance(key(2).address) == left * UNITS
    assert chain.balance(chain.contract) == 0
