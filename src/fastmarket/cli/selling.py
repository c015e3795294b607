"""`sell`, `unsell` and `goods`: what the node itself imports, serves and offers."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING

from fastmarket.cli.context import Context
from fastmarket.cli.parsing import parse_chunker
from fastmarket.cli.render import Column, address_text, clean, size_text
from fastmarket.cli.walking import path_text
from fastmarket.errors import CallerFault, NetworkFault
from fastmarket.formats.cid import NamedBy, named
from fastmarket.wording import counted

if TYPE_CHECKING:
    from fastmarket.market.client_goods import CidForming, GoodEntry, SaleEvent, SoldItem
    from fastmarket.market.grpc_client import MarketClient

SHOW_EVERY_S = 0.1  # between two states of the progress line
_UNSELL_S = 3600.0  # an offer each is withdrawn; what is not in that time goes on without us

COLUMNS = (
    Column("Content", wraps=True),
    Column("$/MB", right=True, bold=True),
    Column("Path", wraps=True),
    Column("Size", right=True),
    Column("State"),
    Column("Sent", right=True),
)


@dataclass(frozen=True, slots=True)
class SaleOptions:
    """How paths are sold, as options of the command."""

    each_file: bool = False
    watch: bool = False
    profile: str = ""
    chunker: str = ""
    max_links: int | None = None
    raw_leaves: bool | None = None
    cid_version: int | None = None

    def forming(self) -> CidForming:
        """How CIDs are made. Raises CallerFault ("chunker")."""
        from fastmarket.market.client_goods import CidForming

        try:
            chunk = parse_chunker(self.chunker) if self.chunker else None
        except ValueError as error:
            raise CallerFault("chunker", str(error)) from None
        return CidForming(self.profile, chunk, self.max_links, self.raw_leaves, self.cid_version)


def sell(desk: Context, paths: Sequence[str], options: SaleOptions | None = None) -> None:
    """Sells files and directories of the node's machine. Prints each CID on a line of stdout; if there are
    several, with the path behind it."""
    options = options or SaleOptions()
    profile, forming = desk.profile, options.forming()
    price, user_id = profile.wanted_price("selling"), profile.user_id().encode()
    absolute = [os.path.abspath(path) for path in paths]

    def events(client: MarketClient) -> AsyncGenerator[SaleEvent, None]:
        return client.sell(
            [path_text(path) for path in absolute],
            price,
            user_id=user_id,
            user_name=profile.username,
            forming=forming,
            each_file=options.each_file,
            watch=options.watch,
        )

    sold = desk.link.call(lambda client: _followed(events(client)))
    done = [one for one in sold if one.cid]
    if desk.as_json:
        desk.screen.json({"sold": [_json(one) for one in sold], "price": price, "ms": desk.link.took_ms})
    else:
        alone = len(absolute) == 1 and not options.each_file
        for one in done:
            desk.screen.line(one.cid if alone else f"{one.cid}  {clean(one.path)}")
        if done:
            print(_told(done, price, _where(desk, done[0].cid, user_id)), file=sys.stderr)
    for one in sold:
        if one.message:
            desk.screen.trouble(f"{clean(one.path)}: {clean(one.message)}")
    if len(done) < len(sold):
        raise NetworkFault(f"{counted(len(sold) - len(done), 'path')} not sold")


def _where(desk: Context, cid: str, user_id: bytes) -> str:
    """Where the node's offer sends buyers."""
    for holder in desk.link.call(lambda client: client.find_holders(cid)):
        if holder.id == user_id:
            if ip_address(holder.ip).is_loopback and not holder.url:
                return f"at {address_text(holder)}, which only this machine reaches (--content-host)"
            return f"at {address_text(holder)}"
    return "at no address yet"


def _told(done: Sequence[SoldItem], price: int, where: str) -> str:
    """For a person; the CIDs are on stdout."""
    size = size_text(sum(one.size for one in done))
    others = min(one.acknowledged for one in done)
    kept = f"this node and {counted(others, 'other')} tell buyers" if others else "this node tells buyers"
    what = clean(os.path.basename(done[0].path)) if len(done) == 1 else counted(len(done), "content")
    return f"selling {what}, {size}, at ${price} per MB, {where}; {kept}"


async def _followed(events: AsyncGenerator[SaleEvent, None]) -> list[SoldItem]:
    """Shows progress on a terminal until all are sold."""
    from fastmarket.content.sale import SaleProgress

    sold: list[SoldItem] = []
    shown = _ProgressLine()
    async with aclosing(events):
        async for event in events:
            if isinstance(event, SaleProgress):
                shown.show(event.done, event.total, event.path)
            else:
                sold.append(event)
    shown.end()
    return sold


class _ProgressLine:
    """One line on stderr, if that is a terminal, rewritten as work goes on."""

    def __init__(self) -> None:
        self._is_shown = sys.stderr.isatty()
        self._began = time.monotonic()
        self._last = 0.0
        self._width = 0

    def show(self, done: int, total: int, path: str) -> None:
        """Bytes so far, and in all."""
        now = time.monotonic()
        if not self._is_shown or (now - self._last < SHOW_EVERY_S and done < total):
            return
        self._last = now
        share = 100 * done // total if total else 100
        rate = done / max(now - self._began, 0.001)
        amount = f"{size_text(done)} of {size_text(total)}  {size_text(int(rate))}/s"
        self._write(f"{share:3d} %  {amount}  {clean(path)}")

    def end(self) -> None:
        """Clears it."""
        if self._width:
            self._write("")
            sys.stderr.write("\r")
            sys.stderr.flush()

    def _write(self, text: str) -> None:
        text = text[: os.get_terminal_size(sys.stderr.fileno()).columns - 1]
        sys.stderr.write("\r" + text + " " * max(self._width - len(text), 0))
        sys.stderr.flush()
        self._width = len(text)


def unsell(desk: Context, argument: str) -> None:
    """Stops selling a content or a path. Prints the CIDs that are no longer sold."""
    content = argument if _is_cid(argument) else path_text(os.path.abspath(argument))
    cids = desk.link.call(lambda client: client.unsell(content, timeout_s=_UNSELL_S))
    if desk.as_json:
        desk.screen.json({"cids": cids, "ms": desk.link.took_ms})
        return
    for cid in cids:
        desk.screen.line(cid)


def _is_cid(argument: str) -> bool:
    try:
        return named(argument).by is not NamedBy.TEXT_HASH
    except CallerFault:
        return False


def goods(desk: Context) -> None:
    """Lists what the node sells."""

    async def listed(client: MarketClient) -> list[GoodEntry]:
        return [good async for good in client.list_goods()]

    found = desk.link.call(listed)
    if desk.as_json:
        desk.screen.json({"goods": [_good_json(good) for good in found], "ms": desk.link.took_ms})
        return
    if not found:
        desk.screen.line("Nothing is sold")
        return
    rows = [
        (
            good.cid,
            str(good.price),
            clean(good.path),
            size_text(good.size),
            good.state.lower() + (", watched" if good.watched else ""),
            size_text(good.sent_bytes),
        )
        for good in found
    ]
    desk.screen.table(counted(len(found), "content"), COLUMNS, rows)


def _json(item: SoldItem) -> dict[str, object]:
    return {
        "path": item.path,
        "cid": item.cid or None,
        "size": item.size,
        "message": item.message,
        "acknowledged": item.acknowledged,
        "asked": item.asked,
        "wanted": item.wanted,
    }


def _good_json(good: GoodEntry) -> dict[str, object]:
    from fastmarket.cli.render import id_text

    return {
        "cid": good.cid,
        "path": good.path,
        "size": good.size,
        "price": good.price,
        "id": id_text(good.user_id),
        "name": good.user_name,
        "state": good.state,
        "sent_bytes": good.sent_bytes,
        "watched": good.watched,
    }
