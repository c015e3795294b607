"""`sell`, `unsell` and `goods` against real nodes, and what buyers then get over HTTP."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
from pathlib import Path

import httpx
import pytest

from fastmarket.cli.processes import ServerProcess, environment, executable
from fastmarket.hashing import cid_of_file
from fastmarket.market.grpc_client import MarketClient
from tests.e2e.conftest import Run, Servers
from tests.e2e.test_server import eventually

SIZE = 3 * 256 * 1024 + 77
KILL = 9


@pytest.fixture
def seller(servers: Servers) -> ServerProcess:
    return servers.start("--content-port", "0")


@pytest.fixture
def movie(tmp_path: Path) -> Path:
    path = tmp_path / "a movie.mkv"
    path.write_bytes(os.urandom(SIZE))
    return path


def url(seller: ServerProcess, cid: str, query: str = "") -> str:
    return f"{seller.ready['content']}/ipfs/{cid}{query}"


def test_a_sold_file_is_offered_and_served(run_client: Run, seller: ServerProcess, movie: Path) -> None:
    at = ("-p", seller.port)
    done = run_client(*at, "sell", str(movie), "--price", "3", "-u", "alice")
    cid = str(cid_of_file(movie))
    place = httpx.URL(seller.ready["content"])
    assert (done.status, done.out) == (0, f"{cid}\n")
    assert done.err == (
        f"selling {movie.name}, 786.5 kB, at $3 per MB, at {place.host}:{place.port}, "
        "which only this machine reaches (--content-host); this node tells buyers\n"
    )
    (holder,) = run_client(*at, "check", cid, "--live", "--json").json["holders"]
    assert (holder["name"], holder["price"], holder["size"]) == ("alice", 3, SIZE)
    assert (holder["ip"], holder["port"], holder["cid"]) == (place.host, place.port, cid)
    assert (holder["ways"], holder["liveness"]) == (["http"], "LIVE")
    assert httpx.get(url(seller, cid)).content == movie.read_bytes()
    part = httpx.get(url(seller, cid), headers={"Range": "bytes=262140-262150"})
    assert (part.status_code, part.content) == (206, movie.read_bytes()[262140:262151])
    (good,) = run_client(*at, "goods", "--json").json["goods"]
    assert (good["path"], good["state"], good["price"]) == (str(movie), "SELLING", 3)
    assert good["sent_bytes"] >= SIZE


def test_what_is_no_longer_sold_is_neither_offered_nor_served(
    run_client: Run, seller: ServerProcess, movie: Path
) -> None:
    at = ("-p", seller.port)
    cid = run_client(*at, "sell", str(movie), "--price", "3").out.strip()
    assert run_client(*at, "unsell", str(movie)).out == f"{cid}\n"
    assert run_client(*at, "check", cid, "--json").json["holders"] == []
    assert httpx.get(url(seller, cid)).status_code == 404
    assert run_client(*at, "goods").out == "Nothing is sold\n"
    assert "is not sold here" in run_client(*at, "unsell", cid).complaint


def test_a_directory_is_one_content_or_many(run_client: Run, seller: ServerProcess, tmp_path: Path) -> None:
    at, music = ("-p", seller.port), tmp_path / "music"
    (music / "b").mkdir(parents=True)
    (music / "a.txt").write_text("a")
    (music / "b" / "c.txt").write_text("c")
    cid = run_client(*at, "sell", str(music), "--price", "0").out.strip()
    assert httpx.get(url(seller, cid, "/b/c.txt")).text == "c"
    (holder,) = run_client(*at, "check", cid, "--json").json["holders"]
    assert (holder["ways"], holder["size"]) == (["http", "bitswap"], 2)
    many = run_client(*at, "sell", str(music), "--price", "2", "--each-file")
    listed = {line.split("  ")[1]: line.split("  ")[0] for line in many.out.splitlines()}
    assert listed == {str(path): str(cid_of_file(path)) for path in (music / "a.txt", music / "b" / "c.txt")}


def test_what_is_unsold_is_not_offered_after_sigkill_either(
    run_client: Run, servers: Servers, tmp_path: Path
) -> None:
    """Killed as soon as the goods are gone, in the middle of withdrawing their offers."""
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    for number in range(1500):
        (shelf / str(number)).write_text(str(number))
    port = free_port()
    home = ("--data-dir", str(tmp_path / "home"), "--content-port", str(port))
    first = servers.start(*home)
    servers.start(join=first)
    assert run_client("-p", first.port, "sell", str(shelf), "--each-file", "--price", "1").status == 0
    by_hand = run_client("-p", first.port, "register", "by hand", "--price", "1", "--client-port", str(port))
    assert by_hand.status == 0
    assert asyncio.run(offers_at(first)) == 1501
    command = [*executable("fastmarket-client"), "-p", first.port, "unsell", str(shelf)]
    env = environment(FASTMARKET_CLIENT_DATA_DIR=str(tmp_path / "user"))
    with subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as client:
        eventually(30.0, lambda: httpx.get(url(first, str(cid_of_file(shelf / "7")))).status_code == 404)
        first.process.send_signal(KILL)
        client.wait()
    first.wait()
    again = servers.start(*home)
    eventually(30.0, lambda: asyncio.run(offers_at(again)) == 1)


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


async def offers_at(node: ServerProcess) -> int:
    async with MarketClient(f"127.0.0.1:{node.port}") as client:
        return len([offer async for offer in client.list_offers()])


def test_all_goods_are_listed(run_client: Run, seller: ServerProcess, tmp_path: Path) -> None:
    """Also those of a second page."""
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    for number in range(1003):
        (shelf / str(number)).write_text(str(number))
    assert run_client("-p", seller.port, "sell", str(shelf), "--each-file", "--price", "1").status == 0
    goods = run_client("-p", seller.port, "goods", "--json").json["goods"]
    assert len({good["path"] for good in goods}) == len(goods) == 1003


def test_many_paths_are_sold_at_once(run_client: Run, seller: ServerProcess, tmp_path: Path) -> None:
    """As by `sell *`; a call of the node takes a hundred."""
    paths = [tmp_path / f"{number}.txt" for number in range(201)]
    for path in paths:
        path.write_text(path.name)
    done = run_client("-p", seller.port, "sell", *map(str, paths), "--price", "1")
    assert done.status == 0, done
    assert [line.split("  ")[1] for line in done.out.splitlines()] == list(map(str, paths))


def test_a_changed_file_is_never_served(run_client: Run, seller: ServerProcess, movie: Path) -> None:
    at = ("-p", seller.port)
    cid = run_client(*at, "sell", str(movie), "--price", "3").out.strip()
    with movie.open("r+b") as file:
        file.write(b"another")
    assert httpx.get(url(seller, cid, "?format=raw")).status_code == 404
    eventually(10.0, lambda: "is not the file that was imported" in seller.log())
    (good,) = run_client(*at, "goods", "--json").json["goods"]
    assert good["state"] == "CHANGED"
    assert run_client(*at, "check", cid, "--json").json["holders"] == []
    again = run_client(*at, "sell", str(movie), "--price", "3").out.strip()
    assert again == str(cid_of_file(movie)) != cid
    assert httpx.get(url(seller, again)).content == movie.read_bytes()


def test_sales_outlive_sigkill(run_client: Run, servers: Servers, movie: Path, tmp_path: Path) -> None:
    home = ("--data-dir", str(tmp_path / "home"), "--content-port", "0")
    first = servers.start(*home)
    cid = run_client("-p", first.port, "sell", str(movie), "--price", "3").out.strip()
    first.process.send_signal(KILL)
    first.wait()
    again = servers.start(*home)
    assert httpx.get(url(again, cid)).content == movie.read_bytes()
    place = httpx.URL(again.ready["content"])
    holders = run_client("-p", again.port, "check", cid, "--json").json["holders"]
    assert [(holder["ip"], holder["port"]) for holder in holders] == [(place.host, place.port)]


def test_what_may_not_be_sold(run_client: Run, servers: Servers, movie: Path, tmp_path: Path) -> None:
    allowed = tmp_path / "allowed"
    allowed.mkdir()
    (allowed / "link").symlink_to(movie)
    (allowed / "good").write_text("good")
    home = tmp_path / "home"
    seller = servers.start("--data-dir", str(home), "--content-port", "0", "--allow-path", str(allowed))
    at = ("-p", seller.port, "--price", "1")
    for path in (movie, allowed / "link", home / "identity.pem", allowed / ".." / movie.name):
        done = run_client(*at, "sell", str(path))
        assert done.status != 0
        assert f"/{path.name} may not be sold" in done.err  # as it was asked for, wherever it leads
        assert "may not be sold" in done.err
    assert "no such file" in run_client(*at, "sell", str(allowed / "missing")).err
    assert run_client(*at, "sell", str(allowed / "good")).status == 0


def test_a_node_without_a_content_port_says_so(run_client: Run, servers: Servers, movie: Path) -> None:
    node = servers.start()
    assert node.ready["content"] is None
    assert "--content-port" in run_client("-p", node.port, "sell", str(movie), "--price", "1").complaint


def test_a_followed_directory_is_sold_as_it_is(run_client: Run, servers: Servers, tmp_path: Path) -> None:
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    (shelf / "a").write_text("a")
    home = str(tmp_path / "home")
    seller = servers.start("--data-dir", home, "--content-port", "0")

    def names() -> list[str]:
        return sorted(
            Path(good["path"]).name
            for good in run_client("-p", seller.port, "goods", "--json").json["goods"]
            if good["cid"] and good["state"] == "SELLING"
        )

    done = run_client("-p", seller.port, "sell", str(shelf), "--each-file", "--watch", "--price", "1")
    assert done.status == 0
    (shelf / "b").write_text("b")
    eventually(20.0, lambda: names() == ["a", "b"])
    cid = str(cid_of_file(shelf / "b"))
    assert httpx.get(url(seller, cid)).text == "b"
    # Also what changes while the node does not run.
    seller.terminate()
    (shelf / "a").unlink()
    (shelf / "c").write_text("c")
    seller = servers.start("--data-dir", home, "--content-port", "0")
    eventually(20.0, lambda: names() == ["b", "c"])
    (shelf / "d").write_text("d")
    eventually(20.0, lambda: names() == ["b", "c", "d"])
