"""The market service of the OrcaNet programs, as clients from Go and Rust see it on a real server."""

from __future__ import annotations

import hashlib
import signal
from typing import Any

import pytest

from fastmarket.cli.processes import ServerProcess
from interop.orcanet.conftest import Client, Servers

DEADLINE_MS = 1000.0
CONTENT = hashlib.sha256(b"orcanet").hexdigest()
OTHER_CONTENT = hashlib.sha256(b"orca").hexdigest()
# As the later Go programs fill it in: an RSA-2048 key in DER. This one has the form alone.
RAW_ID = (
    bytes.fromhex("30820122300d06092a864886f70d01010105000382010f00") + bytes(range(1, 256)) + b"\xff" * 15
)


def succeeded(outcome: dict[str, Any]) -> dict[str, Any]:
    assert outcome["ok"], outcome
    assert outcome["ms"] < DEADLINE_MS, outcome
    return outcome


def holders(outcome: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = succeeded(outcome)["holders"]
    return found


def user(name: str, price: int) -> dict[str, str | int]:
    return {"id": f"id-{name}", "name": name, "ip": "127.0.0.1", "port": 4000, "price": price}


def shown(name: str, price: int) -> dict[str, str | int]:
    """A `user` as either client prints it."""
    return {**user(name, price), "id_hex": f"id-{name}".encode().hex()}


def test_each_sees_the_holders_of_both_cheapest_first(
    servers: Servers, go_client: Client, rust_client: Client
) -> None:
    first, second, third = servers.network()
    succeeded(go_client.register(first, CONTENT, **user("gopher", 30)))
    succeeded(rust_client.register(second, CONTENT, **user("crab", 20)))
    succeeded(go_client.register(first, CONTENT, **user("mole", 10)))
    expected = [shown("mole", 10), shown("crab", 20), shown("gopher", 30)]
    for server in (first, second, third):
        assert holders(go_client.check(server, CONTENT)) == expected
        assert holders(rust_client.check(server, CONTENT)) == expected


def test_a_new_price_replaces_the_old_one(node: ServerProcess, client: Client) -> None:
    for price in (5, 7):
        succeeded(client.register(node, CONTENT, **user("one", price)))
    assert holders(client.check(node, CONTENT)) == [shown("one", 7)]


def test_unknown_content_is_ok_and_empty(node: ServerProcess, client: Client) -> None:
    assert holders(client.check(node, CONTENT)) == []


@pytest.mark.parametrize("host", ["localhost", "localhost2"])
def test_the_host_names_of_the_menu_clients_are_accepted(
    node: ServerProcess, client: Client, host: str
) -> None:
    succeeded(client.register(node, CONTENT, **user("one", 5) | {"ip": host}))
    assert [holder["ip"] for holder in holders(client.check(node, CONTENT))] == [host]


def test_the_name_stands_in_for_an_id_that_is_not_given(node: ServerProcess, client: Client) -> None:
    succeeded(client.register(node, CONTENT, name="somebody"))
    assert [holder["id"] for holder in holders(client.check(node, CONTENT))] == ["somebody"]


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        (("register", "--id", "1", "--port", "416320", CONTENT), "user.port"),
        (("register", "--id", "1", "--ip", "not a host", CONTENT), "user.ip"),
        (("register", "--id", "1", "--price", "-1", CONTENT), "user.price"),
        (("register", "--no-user", CONTENT), "user"),
        (("register", "--id", "1", ""), "fileHash"),
        (("check", ""), "fileHash"),
    ],
    ids=["port-of-the-menu-clients", "host", "price", "no-user", "register-nothing", "check-nothing"],
)
def test_a_wrong_field_is_named(
    node: ServerProcess, client: Client, arguments: tuple[str, ...], field: str
) -> None:
    outcome = client.call(node, *arguments)
    assert not outcome["ok"]
    assert outcome["code"] == "INVALID_ARGUMENT"
    assert outcome["message"].startswith(f"{field}: ")
    assert holders(client.check(node, CONTENT)) == []


def test_a_port_out_of_range_is_told_as_it_was_sent(node: ServerProcess, client: Client) -> None:
    outcome = client.register(node, CONTENT, id="1", port=416320)
    assert "416320" in outcome["message"]


def test_go_reads_back_an_id_that_is_no_text(servers: Servers, go_client: Client) -> None:
    first = servers.start()
    second = servers.start(join=first)
    succeeded(go_client.register(first, CONTENT, id_hex=RAW_ID.hex(), name="key", price=1))
    for server in (first, second):
        (holder,) = holders(go_client.check(server, CONTENT))
        assert bytes.fromhex(holder["id_hex"]) == RAW_ID
        assert "id" not in holder


def test_rust_refuses_a_whole_answer_for_one_id_that_is_no_text(
    node: ServerProcess, go_client: Client, rust_client: Client
) -> None:
    """The client's own decoder does: why ids should be text. The server cannot know what its caller is."""
    succeeded(rust_client.register(node, CONTENT, **user("crab", 1)))
    succeeded(go_client.register(node, CONTENT, id_hex=RAW_ID.hex(), name="key", price=2))
    outcome = rust_client.check(node, CONTENT)
    assert not outcome["ok"]
    assert outcome["code"] == "INTERNAL"
    assert "UTF-8" in outcome["message"]
    assert [holder["name"] for holder in holders(go_client.check(node, CONTENT))] == ["crab", "key"]
    # Nothing else suffers: not its registrations, and not its view of other contents.
    succeeded(rust_client.register(node, OTHER_CONTENT, **user("crab", 1)))
    assert holders(rust_client.check(node, OTHER_CONTENT)) == [shown("crab", 1)]


@pytest.fixture
def hung(servers: Servers, go_client: Client) -> tuple[ServerProcess, ServerProcess]:
    """Two nodes of three; the third has registered CONTENT, and then stops: connected, but mute."""
    first, second, third = servers.network()
    succeeded(go_client.register(third, CONTENT, **user("early", 1)))
    third.process.send_signal(signal.SIGSTOP)
    return first, second


def test_holders_are_told_within_the_second_while_a_node_hangs(
    hung: tuple[ServerProcess, ServerProcess], client: Client
) -> None:
    for server in hung:
        assert holders(client.check(server, CONTENT)) == [shown("early", 1)]
        assert holders(client.check(server, OTHER_CONTENT)) == []


def test_a_registration_is_answered_within_the_second_while_a_node_hangs(
    hung: tuple[ServerProcess, ServerProcess], client: Client
) -> None:
    """Either way: a quorum short of it is told as such, and the offer is kept."""
    server, _ = hung
    outcome = client.register(server, CONTENT, **user("late", 2))
    assert outcome["ms"] < DEADLINE_MS
    assert outcome["ok"] or (outcome["code"], "kept" in outcome["message"]) == ("UNAVAILABLE", True), outcome
    assert holders(client.check(server, CONTENT)) == [shown("early", 1), shown("late", 2)]


def test_a_registration_reaches_its_quorum_within_the_second_while_a_node_hangs(
    hung: tuple[ServerProcess, ServerProcess], client: Client
) -> None:
    first, second = hung
    succeeded(client.register(first, CONTENT, **user("late", 2)))
    assert holders(client.check(second, CONTENT)) == [shown("early", 1), shown("late", 2)]
