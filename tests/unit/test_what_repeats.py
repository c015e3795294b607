"""Every timer, task, callback and waiting loop of the package, and what becomes of it when it raises.

Who adds one says here which of the ways below it goes. What repeats goes by `Repeating` or `Pump`, and has a
next time whatever the work raises, or names the test that shows the same of it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sources import tree_of

ROOT = Path(__file__).parents[2]
SOURCES = ROOT / "src" / "fastmarket"

CALLS = {
    *("call_later", "call_at", "call_soon", "call_soon_threadsafe", "create_task", "ensure_future"),
    *("add_done_callback", "add_signal_handler", "add_reader", "add_writer", "Thread"),
    *("Repeating", "Pump"),
}
LOOP = "while"  # one in a coroutine that waits for something

ITSELF = "the mechanism itself"
REPEATS = "by the mechanism"
ONCE = "happens once; its end, well or not, is told to whoever waits for it, or logged"
CALLER = "part of one caller's call, whose it is to hear of a fault"
DATAGRAM = "the loop calls it for each datagram: one that raises costs that one"
FORGETS = "does nothing but let go of what has ended"

# (file, where in it, what): how it goes, and where it repeats by other means, the test of that.
SITES: dict[tuple[str, str, str], tuple[str, str]] = {
    ("repeating.py", "Repeating.start", "ensure_future"): (
        ITSELF,
        "test_faults.py::test_what_repeats_goes_on",
    ),
    ("repeating.py", "Repeating._run", LOOP): (ITSELF, "test_faults.py::test_what_repeats_goes_on"),
    ("net/pump.py", "Pump.arm", "call_later"): (
        ITSELF,
        "test_faults.py::test_a_turn_that_fails_has_a_next_one",
    ),
    ("net/pump.py", "RunQueue.add", "call_soon"): (
        ITSELF,
        "test_faults.py::test_a_turn_that_fails_has_a_next_one",
    ),
    ("net/pump.py", "RunQueue._go", "call_soon"): (
        ITSELF,
        "test_faults.py::test_a_turn_that_fails_has_a_next_one",
    ),
    ("memory_limit.py", "MemoryWatch.__init__", "Repeating"): (
        REPEATS,
        "unit/test_memory_limit.py::test_strangers_are_refused_first_then_callers_and_all_come_back",
    ),
    ("net/host.py", "Host.__init__", "Repeating"): (REPEATS, "test_faults.py::test_the_sweep_goes_on"),
    ("net/link.py", "Link.__init__", "Pump"): (
        REPEATS,
        "test_faults.py::test_a_bug_over_a_connection_costs_that_connection",
    ),
    ("net/pump.py", "RunQueue.run_later", "call_soon"): (
        ITSELF,
        "test_faults.py::test_who_fails_with_more_to_do_holds_up_nobody",
    ),
    ("net/pump.py", "RunQueue._go_on", "call_soon"): (
        ITSELF,
        "test_faults.py::test_who_fails_with_more_to_do_holds_up_nobody",
    ),
    ("net/driver.py", "NodeDriver.__init__", "Pump"): (
        REPEATS,
        "test_faults.py::test_offers_are_announced_again_after_a_bug",
    ),
    ("net/driver.py", "NodeDriver.persist", "ensure_future"): (ONCE, ""),
    ("net/driver.py", "NodeDriver.persist", "add_done_callback"): (
        ONCE,
        "test_faults.py::test_what_could_not_be_kept_is_not_acknowledged",
    ),
    ("net/driver.py", "Running.items", LOOP): (CALLER, ""),
    ("net/fetching/http_holder.py", "HttpHolder._advance", "ensure_future"): (ONCE, ""),
    ("net/fetching/http_holder.py", "HttpHolder._advance", "add_done_callback"): (ONCE, ""),
    ("net/fetching/asked_holders.py", "AskedHolders._close", "ensure_future"): (ONCE, ""),
    ("net/fetching/asked_holders.py", "AskedHolders._close", "add_done_callback"): (FORGETS, ""),
    ("net/fetching/asked_holders.py", "AskedHolders.close", LOOP): (CALLER, ""),
    ("net/fetching/fetcher.py", "Fetcher.fetch", "ensure_future"): (CALLER, ""),
    ("net/fetching/fetcher.py", "Fetcher.fetch", "add_done_callback"): (FORGETS, ""),
    ("net/fetching/fetcher.py", "Fetcher.close", LOOP): (CALLER, ""),
    ("net/fetching/fetcher.py", "Fetcher._search", LOOP): (CALLER, ""),
    ("net/fetching/part_file.py", "PartWriter._go", "add_done_callback"): (ONCE, ""),
    ("net/fetching/part_file.py", "PartWriter._idle", LOOP): (CALLER, ""),
    ("net/fetching/part_file.py", "PartWriter._work", "call_soon_threadsafe"): (ONCE, ""),
    ("net/fetching/probing.py", "Prober.probe", "ensure_future"): (CALLER, ""),
    ("net/fetching/running.py", "RunningFetch.__init__", "Pump"): (
        REPEATS,
        "net/fetching/test_fetcher.py::test_a_bug_of_ours_ends_that_fetch_alone",
    ),
    ("net/fetching/running.py", "RunningFetch.reports", LOOP): (CALLER, ""),
    ("net/fetching/wallet.py", "Wallet.write", "add_done_callback"): (
        ONCE,
        "e2e/test_payments.py::test_sigkill_of_either_side_loses_no_receipt",
    ),
    ("net/fetching/wallet.py", "Wallet.look", "add_done_callback"): (ONCE, ""),
    ("net/bitswap/paid_holder.py", "PaidBitswapHolder._advance", "ensure_future"): (
        ONCE,
        "net/test_paid_bitswap.py::test_a_holder_that_takes_no_payments_fails_its_requests",
    ),
    ("net/tab_calls.py", "TabCall._ask", LOOP): (CALLER, ""),
    ("net/tab_streams.py", "TabStreams._serve", LOOP): (
        "the stream's, whose end it is",
        "net/test_paid_bitswap.py::test_what_makes_no_sense_ends_the_stream_alone",
    ),
    ("net/tab_streams.py", "TabStreams._write", "ensure_future"): (CALLER, ""),
    ("content/port/cashier.py", "Cashier.look", "add_done_callback"): (ONCE, ""),
    ("content/port/cashier.py", "Cashier._take", "add_done_callback"): (
        ONCE,
        "e2e/test_payments.py::test_a_priced_file_is_paid_for_with_receipts",
    ),
    ("storage/tabs.py", "TabJournal._begin", "add_done_callback"): (
        ONCE,
        "unit/storage/test_tabs.py::test_what_comes_during_a_write_is_written_together",
    ),
    ("storage/tab_ledger.py", "TabLedger._write", "add_done_callback"): (
        ONCE,
        "unit/storage/test_tab_ledger.py::test_what_could_not_be_written_comes_again",
    ),
    ("storage/tabs.py", "TabJournal.close", LOOP): (ONCE, ""),
    ("node_payments.py", "payments", "Repeating"): (REPEATS, ""),
    ("node_content.py", "_looked_after", "Repeating"): (REPEATS, ""),
    ("node_fetching.py", "_paying", "Repeating"): (REPEATS, ""),
    ("storage/holders.py", "HolderSaver.__init__", "Repeating"): (REPEATS, ""),
    ("net/twins.py", "Twins.__init__", "Repeating"): (REPEATS, ""),
    ("net/network_watch.py", "NetworkWatch.__init__", "Repeating"): (REPEATS, ""),
    ("net/network_watch.py", "NetworkWatch.start", "add_reader"): (DATAGRAM, ""),
    ("net/network_watch.py", "NetworkWatch._on_readable", "call_later"): (ONCE, ""),
    ("net/port_mapping.py", "RouterDriver.__init__", "Pump"): (REPEATS, ""),
    ("net/port_mapping.py", "RouterDriver.__init__", "add_reader"): (DATAGRAM, ""),
    ("net/port_mapping.py", "RouterDriver._send", "ensure_future"): (ONCE, ""),
    ("net/port_mapping.py", "RouterDriver._send", "add_done_callback"): (FORGETS, ""),
    ("net/port_mapping.py", "RouterDriver._send", "call_soon"): (ONCE, ""),
    ("net/port_mapping.py", "PortMapping.__init__", "Repeating"): (REPEATS, ""),
    ("net/port_mapping.py", "PortMapping._listen", "add_reader"): (DATAGRAM, ""),
    ("net/twins.py", "Twins.on_named", "ensure_future"): (ONCE, ""),
    ("net/public_routing.py", "_merged", LOOP): (CALLER, ""),
    ("net/public_routing.py", "_merged", "ensure_future"): (CALLER, ""),
    ("net/local_network.py", "LocalNetwork.__init__", "Repeating"): (
        REPEATS,
        "e2e/test_lan.py::test_nodes_of_one_network_meet_without_a_bootstrap_peer_at_its_addresses",
    ),
    ("net/local_network.py", "LocalNetwork._begin", "ensure_future"): (ONCE, ""),
    ("net/local_network.py", "LocalNetwork._begin", "add_done_callback"): (FORGETS, ""),
    ("net/joining.py", "Joining.start", "Repeating"): (
        REPEATS,
        "test_faults.py::test_joining_is_tried_again_after_a_bug",
    ),
    ("storage/peers.py", "PeerSaver.__init__", "Repeating"): (
        REPEATS,
        "test_faults.py::test_peers_and_values_are_saved_after_a_bug",
    ),
    ("storage/records.py", "RecordKeeper.__init__", "Repeating"): (
        REPEATS,
        "test_faults.py::test_peers_and_values_are_saved_after_a_bug",
    ),
    ("web/metrics.py", "NodeMetrics.__init__", "Repeating"): (REPEATS, ""),
    ("fleet/credit.py", "FleetCredit._wake", "ensure_future"): (
        ONCE,
        "e2e/test_payments.py::test_servers_that_share_a_store_give_a_buyer_one_credit",
    ),
    ("fleet/credit.py", "FleetCredit._wake", "add_done_callback"): (
        ONCE,
        "e2e/test_payments.py::test_servers_that_share_a_store_give_a_buyer_one_credit",
    ),
    ("fleet/credit.py", "FleetCredit._ask", LOOP): (
        ONCE,
        "e2e/test_payments.py::test_servers_that_share_a_store_give_a_buyer_one_credit",
    ),
    ("fleet/upkeep.py", "StoreUpkeep.__init__", "Repeating"): (REPEATS, ""),
    ("fleet/writer.py", "SharedWriter.start", "create_task"): (
        REPEATS,
        "test_faults.py::test_the_shared_store_is_written_to_after_a_bug",
    ),
    ("fleet/writer.py", "SharedWriter._run", LOOP): (
        REPEATS,
        "test_faults.py::test_the_shared_store_is_written_to_after_a_bug",
    ),
    ("fleet/writer.py", "SharedWriter._retry_later", "call_later"): (
        REPEATS,
        "test_faults.py::test_the_shared_store_is_written_to_after_a_bug",
    ),
    ("fleet/writer.py", "SharedWriter.settled", LOOP): (CALLER, ""),
    ("fleet/writer.py", "SharedWriter.stop", LOOP): (ONCE, ""),
    ("storage/journal.py", "Journal._schedule", "call_later"): (
        REPEATS,
        "test_faults.py::test_the_journal_writes_what_a_bug_kept_from_being_written",
    ),
    ("storage/journal.py", "Journal._begin", "create_task"): (
        REPEATS,
        "test_faults.py::test_the_journal_writes_what_a_bug_kept_from_being_written",
    ),
    ("storage/journal.py", "Journal._begin", "add_done_callback"): (
        REPEATS,
        "test_faults.py::test_the_journal_writes_what_a_bug_kept_from_being_written",
    ),
    ("storage/journal.py", "Journal.keep", "add_done_callback"): (FORGETS, ""),
    ("storage/journal.py", "Journal.__init__", "Repeating"): (REPEATS, ""),
    ("storage/journal.py", "Journal._put", LOOP): (ONCE, ""),
    ("net/dials.py", "Dials._dial", "ensure_future"): (
        ONCE,
        "test_odd_addresses.py::test_a_bug_in_a_dial_is_a_failed_dial",
    ),
    ("net/dials.py", "Dials._dial", "add_done_callback"): (
        ONCE,
        "test_faults.py::test_observers_and_requests_do_not_share_a_fault",
    ),
    ("net/dialer.py", "_Dial.run", LOOP): (
        ONCE,
        "test_odd_addresses.py::test_a_bug_in_a_dial_is_a_failed_dial",
    ),
    ("net/dialer.py", "_Dial.run", "ensure_future"): (ONCE, ""),
    ("net/dialer.py", "_Dial.run", "add_done_callback"): (FORGETS, ""),
    ("net/dialer.py", "_Dial._consider", "ensure_future"): (ONCE, ""),
    ("net/streams.py", "StreamTable._accept", "ensure_future"): (ONCE, ""),
    ("net/streams.py", "StreamTable._accept", "add_done_callback"): (FORGETS, ""),
    ("net/streams.py", "Stream.read", LOOP): (CALLER, ""),
    ("net/streams.py", "Stream.wait_ready", LOOP): (CALLER, ""),
    ("net/streams.py", "Stream.write", LOOP): (CALLER, ""),
    ("net/pinging.py", "ping", LOOP): (CALLER, ""),
    ("net/bitswap/exchange.py", "BitswapExchange.__init__", "Pump"): (
        REPEATS,
        "test_bitswap.py::test_after_a_bug_in_a_turn_blocks_are_served_again",
    ),
    ("net/bitswap/inbound.py", "Inbound.read", LOOP): (ONCE, ""),
    ("net/bitswap/outbox.py", "Outbox._start", "ensure_future"): (
        ONCE,
        "test_bitswap.py::test_after_a_bug_in_sending_blocks_are_served_again",
    ),
    ("net/bitswap/outbox.py", "Outbox._run", LOOP): (
        ONCE,
        "test_bitswap.py::test_after_a_bug_in_sending_blocks_are_served_again",
    ),
    ("net/bitswap/outbox.py", "Outbox._rest", "call_later"): (FORGETS, ""),
    ("net/bitswap/outbox.py", "Outbox._close_stream", "call_later"): (FORGETS, ""),
    ("net/bridge.py", "DhtServer.run", LOOP): (ONCE, ""),
    ("net/bridge.py", "DhtServer.run", "ensure_future"): (ONCE, ""),
    ("net/bridge.py", "DhtServer._begin", "ensure_future"): (CALLER, ""),
    ("net/bridge.py", "DhtServer._begin", "add_done_callback"): (FORGETS, ""),
    ("fleet/offers.py", "FleetOffers.read", LOOP): (CALLER, ""),
    ("fleet/offers.py", "FleetOffers.read", "ensure_future"): (ONCE, ""),
    ("fleet/offers.py", "FleetOffers.read", "add_done_callback"): (FORGETS, ""),
    ("fleet/view.py", "ViewCache.get", "ensure_future"): (CALLER, ""),
    ("fleet/view.py", "ViewCache.get", "add_done_callback"): (FORGETS, ""),
    ("storage/shared.py", "SharedStore._guarded", "create_task"): (ONCE, ""),
    ("storage/shared.py", "SharedStore._mapped", "create_task"): (ONCE, ""),
    ("storage/shared.py", "SharedStore._renew", "create_task"): (ONCE, ""),
    ("market/calls.py", "CallStream.answers", LOOP): (CALLER, ""),
    ("market/calls.py", "CallStream.answers", "ensure_future"): (CALLER, ""),
    ("market/crowds.py", "Crowds.__init__", "Repeating"): (REPEATS, ""),
    ("market/holder_watch.py", "watch_on", LOOP): (CALLER, ""),
    ("market/grpc_server.py", "_started", "ensure_future"): (CALLER, ""),
    ("market/sharing.py", "LoopTurns._plan", "call_soon"): (ONCE, ""),
    ("market/sharing.py", "LoopTurns._rest", "call_soon"): (ONCE, ""),
    ("market/v1_methods.py", "V1Methods._in_turns", LOOP): (CALLER, ""),
    ("market/searches.py", "Searches._find_many", "ensure_future"): (CALLER, ""),
    ("market/service.py", "MarketService.find", "create_task"): (CALLER, ""),
    ("market/service.py", "MarketService.find", "add_done_callback"): (FORGETS, ""),
    ("market/service.py", "MarketService.find_each", LOOP): (CALLER, ""),
    ("market/service.py", "MarketService.watch", LOOP): (CALLER, ""),
    ("market/grpc_client.py", "MarketClient.list_offers", LOOP): (CALLER, ""),
    ("web/server.py", "WebServer.start", "create_task"): (ONCE, ""),
    ("web/door.py", "Guest._await_request", "call_later"): (ONCE, ""),
    ("web/door.py", "Guest._look", "call_later"): (ONCE, ""),
    ("web/door.py", "Guest.pause_writing", "call_later"): (ONCE, ""),
    ("web/routing_api.py", "_left", LOOP): (CALLER, ""),
    ("web/routing_api.py", "_while_there", "ensure_future"): (CALLER, ""),
    ("market/client_goods.py", "GoodsCalls.list_goods", LOOP): (CALLER, ""),
    ("market/client_accounting.py", "LedgerCalls.list_tabs", LOOP): (CALLER, ""),
    ("market/client_accounting.py", "LedgerCalls.statement", LOOP): (CALLER, ""),
    ("web/gets.py", "Get.changes", LOOP): (CALLER, ""),
    ("web/gets.py", "Gets.plans", LOOP): (CALLER, ""),
    ("web/search.py", "_Running._on_offer", "create_task"): (CALLER, ""),
    ("web/search.py", "_Running.lines", "ensure_future"): (CALLER, ""),
    ("web/search.py", "_Running.lines", LOOP): (CALLER, ""),
    ("web/streaming.py", "Written.__call__", "ensure_future"): (CALLER, ""),
    ("web/streaming.py", "_gone", LOOP): (CALLER, ""),
    ("content/withdrawing.py", "Withdrawals.withdraw", "ensure_future"): (ONCE, ""),
    ("content/withdrawing.py", "Withdrawals.withdraw", "add_done_callback"): (FORGETS, ""),
    ("content/port/connection.py", "PortConnection._read_on", "add_reader"): (
        REPEATS,
        "content/port/test_server.py::test_a_bug_costs_one_connection",
    ),
    ("content/port/connection.py", "PortConnection._write_on", "add_writer"): (
        REPEATS,
        "content/port/test_server.py::test_a_bug_costs_one_connection",
    ),
    ("content/port/server.py", "ContentServer.__init__", "Repeating"): (REPEATS, ""),
    ("content/port/server.py", "ContentServer.start", "add_reader"): (
        REPEATS,
        "content/port/test_server.py::test_connections_are_taken_after_a_bug",
    ),
    ("content/port/server.py", "ContentServer._accept_again", "add_reader"): (
        REPEATS,
        "content/port/test_server.py::test_connections_are_taken_after_a_bug",
    ),
    ("content/port/server.py", "ContentServer._pause_accepting", "call_later"): (
        REPEATS,
        "content/port/test_server.py::test_connections_are_taken_when_there_are_descriptors_again",
    ),
    ("content/port/server.py", "ContentServer.stop", LOOP): (CALLER, ""),
    ("content/port/cold.py", "SliceReaders.read", "add_done_callback"): (ONCE, ""),
    ("content/port/shell.py", "PortShell._arm", "call_later"): (
        REPEATS,
        "content/port/test_server.py::test_a_bug_while_others_wait_for_a_turn_costs_one_connection",
    ),
    ("log_writer.py", "LogWriter.put", "Thread"): (ONCE, ""),
    ("patient_calls.py", "PatientCalls.make", "Thread"): (ONCE, ""),
    ("patient_calls.py", "_run", "call_soon_threadsafe"): (ONCE, ""),
    ("settlement/settler.py", "Settler.claim", LOOP): (CALLER, ""),
    ("content/channel.py", "ThreadChannel.__aiter__", LOOP): (CALLER, ""),
    ("content/channel.py", "ThreadChannel._hand_over", "call_soon_threadsafe"): (CALLER, ""),
    ("content/channel.py", "ThreadChannel.filled_by", "call_soon_threadsafe"): (CALLER, ""),
    ("content/following.py", "Followers.update", "ensure_future"): (
        REPEATS,
        "content/test_following.py::test_a_fault_ends_nothing",
    ),
    ("content/keeping.py", "GoodsKeeper.changes", LOOP): (CALLER, ""),
    ("content/shop.py", "Shop.__init__", "Repeating"): (REPEATS, ""),
    ("content/shop.py", "Shop.offer_all", LOOP): (CALLER, ""),
    ("content/watching.py", "changes_below", "Thread"): (
        REPEATS,
        "content/test_following.py::test_a_directory_that_is_replaced_is_followed",
    ),
    ("content/watching.py", "changes_below", "call_soon_threadsafe"): (CALLER, ""),
    ("content/watching.py", "changes_below", LOOP): (CALLER, ""),
    ("cli/withdrawing.py", "withdraw_old", "ensure_future"): (CALLER, ""),
    ("cli/server.py", "_live", "ensure_future"): (ONCE, ""),
    ("cli/server.py", "_live", "add_signal_handler"): (ONCE, ""),
    ("cli/server.py", "_stop", "ensure_future"): (ONCE, ""),
    ("cli/tree.py", "_hashed", LOOP): (CALLER, ""),
}


def is_wait(node: ast.AST) -> bool:
    return isinstance(node, ast.Await | ast.AsyncFor | ast.AsyncWith)


def sites(path: Path) -> Iterator[tuple[str, str, str]]:
    """Where something is begun that goes on by itself."""
    name = path.relative_to(SOURCES).as_posix()

    def walk(node: ast.AST, where: tuple[str, ...], waits: bool) -> Iterator[tuple[str, str, str]]:
        for child in ast.iter_child_nodes(node):
            inner, inner_waits = where, waits
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                inner, inner_waits = (*where, child.name), isinstance(child, ast.AsyncFunctionDef)
            if isinstance(child, ast.Call):
                called = child.func
                what = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
                if what in CALLS:
                    yield name, ".".join(inner), what
            if isinstance(child, ast.While) and waits and any(map(is_wait, ast.walk(child))):
                yield name, ".".join(inner), LOOP
            yield from walk(child, inner, inner_waits)

    return walk(tree_of(path), (), False)


def found() -> set[tuple[str, str, str]]:
    paths = [path for path in SOURCES.rglob("*.py") if "pb" not in path.relative_to(SOURCES).parts]
    return {site for path in paths for site in sites(path)}


def test_every_one_is_known() -> None:
    here = found()
    assert here - SITES.keys() == set(), "say in SITES what becomes of them when they raise"
    assert SITES.keys() - here == set(), "gone"


@pytest.mark.parametrize("site", [site for site, (way, _) in SITES.items() if way in (ITSELF, REPEATS)])
def test_what_repeats_has_its_test(site: tuple[str, str, str]) -> None:
    """One of its own, or that of the mechanism."""
    named = SITES[site][1]
    if not named:
        assert site[2] in ("Repeating", "Pump")
        return
    file, _, test = named.partition("::")
    place = ROOT / "tests" / (file if "/" in file else f"net/{file}")
    assert f"def {test}(" in place.read_text()
