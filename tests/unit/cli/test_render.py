"""What is printed: strangers' text stays harmless, JSON keeps its shape, tables say all."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastmarket.cli import render
from fastmarket.cli.render import Column, Screen, draw
from fastmarket.market.grpc_client import Holder

ALICE = Holder(
    id=b"alice-id",
    name="alice",
    ip="192.0.2.1",
    port=9001,
    price=5,
    provider="12D3KooWQYhTNQdmr3ArTeUHRYzFg94BKyTkoWBDWez9kSCVe2Xo",
    not_after=2_000_000_000,
)


def test_ids_are_text_where_they_are_text() -> None:
    assert render.id_text(b"alice") == "alice"
    assert render.id_text("é".encode()) == "é"
    assert render.id_text(b"\x30\x82\x01\xff") == "0x308201ff"
    assert render.id_text(b"a\nb") == "0x610a62"
    assert render.id_text(b"") == ""


@given(st.binary(max_size=40), st.binary(max_size=40))
def test_ids_stay_apart(first: bytes, second: bytes) -> None:
    assert (render.id_text(first) == render.id_text(second)) == (first == second)


@given(st.text())
def test_clean_text_cannot_steer_a_terminal(text: str) -> None:
    assert all(c.isprintable() for c in render.clean(text))


def test_a_holder_line_is_the_first_systems() -> None:
    assert render.holder_line(ALICE) == (
        "Peer ID: alice-id, Username: alice, Consumer IP Addr: 192.0.2.1:9001, Price Per MB: $5"
    )
    assert render.holder_line(replace(ALICE, liveness="LIVE", probe_ms=7)).endswith("$5, Live: 7 ms")
    assert render.holder_line(replace(ALICE, liveness="SILENT")).endswith("$5, Live: silent")
    assert "[2001:db8::1]:9001" in render.holder_line(replace(ALICE, ip="2001:db8::1"))
    assert "\x1b" not in render.holder_line(replace(ALICE, name="\x1b[2J", ip="\x1b", id=b"\x1b"))


def test_holder_json() -> None:
    assert render.holder_json(replace(ALICE, size=7, file_name="f")) == {
        "id": "alice-id",
        "name": "alice",
        "ip": "192.0.2.1",
        "port": 9001,
        "price": 5,
        "provider": "12D3KooWQYhTNQdmr3ArTeUHRYzFg94BKyTkoWBDWez9kSCVe2Xo",
        "size": 7,
        "file_name": "f",
        "not_after": 2_000_000_000,
        "cid": None,
        "ways": [],
        "url": None,
        "liveness": None,
        "probe_ms": None,
    }
    live = replace(ALICE, ways=5, url="https://a.example", liveness="LIVE", probe_ms=12)
    assert render.holder_json(live)["ways"] == ["http", "bitswap"]
    assert render.live_text(live) == "12 ms"
    assert render.live_text(replace(live, liveness="SILENT")) == "silent"
    assert render.holder_json(replace(ALICE, cid="bafkqaaa"))["cid"] == "bafkqaaa"
    assert render.holder_json(ALICE)["size"] is None


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (None, ""),
        (0, "0 B"),
        (999, "999 B"),
        (1500, "1.5 kB"),
        (50_335_890, "50.3 MB"),
        (2**63, "9223372.0 TB"),
    ],
)
def test_sizes(size: int | None, text: str) -> None:
    assert render.size_text(size) == text


@pytest.mark.parametrize(
    ("left", "text"),
    [(-5, "0 s"), (40, "40 s"), (119, "119 s"), (600, "10 min"), (172_000, "47 h"), (260_000, "3 d")],
)
def test_time_left(left: int, text: str) -> None:
    assert render.time_left(1000 + left, 1000.0) == text


def test_a_pipe_gets_lines(capsys: pytest.CaptureFixture[str]) -> None:
    screen = Screen(people=False)
    screen.holders("Qm1", [ALICE, replace(ALICE, name="bob", price=7)])
    screen.holders("Qm2", [])
    screen.holders("Qm3", [], unpriced=3)
    screen.holders("Qm4", [], unpriced=1)
    screen.table("title", (Column("a"), Column("b")), [("1", "2")])
    lines = capsys.readouterr().out.splitlines()
    assert [line.rpartition("$")[2] for line in lines[:2]] == ["5", "7"]
    assert lines[2:] == [
        "No holders of Qm2 found",
        "Qm3: no offers; 3 providers without a price",
        "Qm4: no offers; 1 provider without a price",
        "1\t2",
    ]


def test_a_terminal_gets_a_table_with_every_offer(capsys: pytest.CaptureFixture[str]) -> None:
    Screen(people=True).holders(
        "Qm1", [replace(ALICE, name="[red]alice[/]"), replace(ALICE, name="bob", price=7)]
    )
    out = capsys.readouterr().out
    assert "2 holders of Qm1" in out
    assert "$/MB" in out
    assert "[red]alice[/]" in out.replace("\n", "") or "[red]" in out  # never read as markup
    assert out.index(" 5 ") < out.index(" 7 ")


def test_columns_without_text_are_left_out() -> None:
    from rich.console import Console

    stream = io.StringIO()
    Console(file=stream, width=80).print(draw("t", (Column("first"), Column("second")), [("x", "")]))
    assert "first" in stream.getvalue()
    assert "second" not in stream.getvalue()


def test_json_is_one_ascii_line(capsys: pytest.CaptureFixture[str]) -> None:
    Screen().json({"name": "é\n\u202e"})
    out = capsys.readouterr().out
    assert out.isascii()
    assert json.loads(out) == {"name": "é\n\u202e"}
    assert out.count("\n") == 1


def test_a_holder_is_shown_by_the_cid_it_names_where_that_is_another(
    capsys: pytest.CaptureFixture[str],
) -> None:
    screen = Screen(people=True)
    screen.holders("Qm1", [replace(ALICE, cid="Qm1"), ALICE], cid="Qm1")
    assert "CID" not in capsys.readouterr().out
    screen.holders("Qm1", [replace(ALICE, cid="bafk1")], cid="Qm1")
    assert "bafk1" in capsys.readouterr().out.replace("\n", "")
