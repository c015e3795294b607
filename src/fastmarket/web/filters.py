"""The records and addresses a client asks for (IPIP-484, in Delegated Routing V1)."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from fastmarket.errors import CallerFault
from fastmarket.formats.multiaddr import Multiaddr
from fastmarket.net.gateways import OFFER_TRANSFER

UNKNOWN = "unknown"  # as a filter: records that do not name any
MAX_PROTOCOL_CHARS = 63  # of a transfer protocol's name; the specification's limit


@dataclass(frozen=True, slots=True)
class Filters:
    """Lower-case names. An empty set accepts everything."""

    wanted_addrs: frozenset[str] = frozenset()
    unwanted_addrs: frozenset[str] = frozenset()
    protocols: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, addrs: str, protocols: str, max_chars: int) -> Filters:
        """Parses `filter-addrs` and `filter-protocols`. Raises CallerFault."""
        names = _names("filter-addrs", addrs, max_chars)
        return cls(
            frozenset(name for name in names if not name.startswith("!")),
            frozenset(name[1:] for name in names if name.startswith("!")),
            frozenset(_names("filter-protocols", protocols, max_chars)),
        )

    def addrs(self, addrs: Iterable[Multiaddr]) -> list[Multiaddr] | None:
        """The peer's addresses that pass; None if the whole record is left out."""
        every = list(addrs)
        if not self.wanted_addrs and not self.unwanted_addrs:
            return every
        if not every:
            return every if UNKNOWN in self.wanted_addrs else None
        return [addr for addr in every if self._passes(addr)] or None

    def lets(self, transfers: Collection[str]) -> bool:
        """Whether a record that names these transfer protocols passes.

        Without a protocol filter, holders that sell by their offers alone are left out: the client would take
        a peer without further information for one that serves content for free.
        """
        if not self.protocols:
            return tuple(transfers) != (OFFER_TRANSFER,)
        return self.lets_any(transfers or (UNKNOWN,))

    def lets_any(self, names: Iterable[str]) -> bool:
        """Whether a record with one of these names may pass."""
        return not self.protocols or not self.protocols.isdisjoint(names)

    def _passes(self, addr: Multiaddr) -> bool:
        names = {name.lower() for name, _ in addr.parts}
        if names & self.unwanted_addrs:
            return False
        return not self.wanted_addrs or bool(names & self.wanted_addrs)


def _names(field: str, text: str, max_chars: int) -> list[str]:
    if len(text) > max_chars:
        raise CallerFault(field, f"has more than {max_chars} characters")
    names = [name.strip().lower() for name in text.split(",") if name.strip()]
    for name in names:
        if len(name) > MAX_PROTOCOL_CHARS:
            raise CallerFault(
                field, f"{name[:20]!r}...: the name has more than {MAX_PROTOCOL_CHARS} characters"
            )
    return names
