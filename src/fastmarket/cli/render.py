"""The client's output: tables on a terminal, plain lines for pipes, JSON on request.

Names, ids and addresses are untrusted: control characters are removed before printing, and they are never
parsed as markup. rich is imported only to draw a table.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fastmarket.wording import counted

if TYPE_CHECKING:
    from rich.table import Table

    from fastmarket.market.grpc_client import Holder

SHORT_ID_CHARS = 16
Row = Sequence[str]


def id_text(raw: bytes) -> str:
    """A user id as text: as it is if printable UTF-8, else `0x` and hex digits."""
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        return "0x" + raw.hex()
    return text if text.isprintable() and not text.startswith("0x") else "0x" + raw.hex()


def clean(text: str) -> str:
    """`text` without characters that could move a terminal's cursor or reverse its writing direction."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def short(text: str) -> str:
    """A long id shortened to its beginning and end."""
    text = clean(text)
    return text if len(text) <= SHORT_ID_CHARS else f"{text[:6]}…{text[-8:]}"


def tail(text: str) -> str:
    """A long id shortened to its end: keys of one type share their first characters."""
    text = clean(text)
    return text if len(text) <= SHORT_ID_CHARS else f"…{text[-8:]}"


def size_text(size: int | None) -> str:
    """`1.5 MB`, in powers of 1000."""
    if size is None:
        return ""
    value = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def time_left(not_after: int | None, now: float) -> str:
    """`23 h`, `12 min`, `40 s`; empty if the holder did not say."""
    if not_after is None:
        return ""
    left = max(0, int(not_after - now))
    for seconds, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if left >= 2 * seconds:
            return f"{left // seconds} {unit}"
    return f"{left} s"


def host_port(ip: str, port: int) -> str:
    """`192.0.2.1:80`, `[2001:db8::1]:80`."""
    return f"[{clean(ip)}]:{port}" if ":" in ip else f"{clean(ip)}:{port}"


def holder_json(holder: Holder) -> dict[str, Any]:
    """One holder of `check --json`; size, file_name and cid are null if the holder did not give them."""
    return {
        "id": id_text(holder.id),
        "name": holder.name,
        "ip": holder.ip,
        "port": holder.port,
        "price": holder.price,
        "provider": holder.provider,
        "size": holder.size,
        "file_name": holder.file_name,
        "not_after": holder.not_after,
        "cid": holder.cid or None,
        "ways": [name for bit, name in _WAYS if holder.ways & bit],
        "url": holder.url or None,
        "liveness": holder.liveness or None,
        "probe_ms": holder.probe_ms or None,
    }


def holder_line(holder: Holder) -> str:
    """One holder, in the wording of the first system; behind it, what a probe found, if there was one."""
    live = live_text(holder)
    return (
        f"Peer ID: {clean(id_text(holder.id))}, Username: {clean(holder.name)}, "
        f"Consumer IP Addr: {host_port(holder.ip, holder.port)}, Price Per MB: ${holder.price}"
        + (f", Live: {live}" if live else "")
    )


@dataclass(frozen=True, slots=True)
class Column:
    """A heading and how its cells are drawn."""

    name: str
    right: bool = False
    bold: bool = False
    wraps: bool = False


_WAYS = ((1, "http"), (2, "https"), (4, "bitswap"))  # bits of offers.model.metadata.Way
HOLDER_COLUMNS = (
    Column("$/MB", right=True, bold=True),
    Column("Holder"),
    Column("Address"),
    Column("Live", right=True),
    Column("By"),
    Column("File", wraps=True),
    Column("Size", right=True),
    Column("Valid", right=True),
    Column("User id"),
    Column("Node"),
    Column("CID"),
)


def address_text(holder: Holder) -> str:
    """Where buyers reach a holder: its URL, or its IP address and port."""
    return clean(holder.url) if holder.url else host_port(holder.ip, holder.port)


def holder_row(holder: Holder, now: float, cid: str = "") -> Row:
    """The cells of HOLDER_COLUMNS; the CID is shown if the holder uses another one than `cid`."""
    return (
        str(holder.price),
        clean(holder.name),
        address_text(holder),
        live_text(holder),
        ways_text(holder.ways),
        clean(holder.file_name or ""),
        size_text(holder.size),
        time_left(holder.not_after, now),
        tail(id_text(holder.id)),
        tail(holder.provider),
        clean(holder.cid) if holder.cid != cid else "",
    )


def live_text(holder: Holder) -> str:
    """`12 ms` of a holder that has the content, else what a probe found; empty if there was none."""
    return f"{holder.probe_ms} ms" if holder.liveness == "LIVE" else holder.liveness.lower()


def ways_text(ways: int) -> str:
    """`http, bitswap`."""
    return ", ".join(name for bit, name in _WAYS if ways & bit)


class Screen:
    """The client's stdout: tables on a terminal, lines in a pipe."""

    def __init__(self, *, people: bool | None = None) -> None:
        """`people`: draw tables; by default, if stdout is a terminal."""
        self.people = sys.stdout.isatty() if people is None else people

    def line(self, text: str) -> None:
        """Print one line as is."""
        print(text, flush=True)

    def json(self, value: object) -> None:
        """Print one line of ASCII JSON."""
        print(json.dumps(value), flush=True)

    def trouble(self, text: str) -> None:
        """Print one line about a failure to stderr (after flushing stdout)."""
        sys.stdout.flush()
        print(clean(text), file=sys.stderr, flush=True)

    def holders(self, asked: str, holders: Sequence[Holder], *, cid: str = "", unpriced: int = 0) -> None:
        """Print every offer, in the order given. `cid` is the CID that was looked up; `unpriced` counts its
        providers without an offer."""
        if not holders and unpriced:
            self.line(f"{clean(asked)}: no offers; {counted(unpriced, 'provider')} without a price")
        elif not holders:
            self.line(f"No holders of {clean(asked)} found")
        elif self.people:
            now = time.time()
            rows = [holder_row(holder, now, cid) for holder in holders]
            self.table(f"{counted(len(holders), 'holder')} of {clean(asked)}", HOLDER_COLUMNS, rows)
        else:
            for holder in holders:
                self.line(holder_line(holder))

    def table(self, title: str, columns: Sequence[Column], rows: Iterable[Row]) -> None:
        """Print a table as wide as the terminal allows; a pipe gets tab-separated cells and no title."""
        rows = list(rows)
        if not self.people:
            for row in rows:
                self.line("\t".join(row))
            return
        from rich.console import Console

        Console(markup=False, highlight=False).print(draw(title, columns, rows))


def draw(title: str, columns: Sequence[Column], rows: Iterable[Row]) -> Table:
    """The rich table; empty columns are left out."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    rows = list(rows)
    used = [i for i in range(len(columns)) if any(row[i] for row in rows)]
    table = Table(
        title=Text(title) if title else None,
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    for i in used:
        justify: Any = "right" if columns[i].right else "left"
        table.add_column(
            columns[i].name,
            justify=justify,
            style="bold" if columns[i].bold else "",
            overflow="fold",
            no_wrap=not columns[i].wraps,
        )
    for row in rows:
        table.add_row(*(Text(row[i]) for i in used))
    return table
