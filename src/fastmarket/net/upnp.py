"""UPnP-IGD by miniupnpc (2.3.3), whose calls block: each runs in a thread of its own.

What a call raises is `Exception` with a text: that of the UPnP error, or one that begins with "Miniupnpc", of
its own. `discover` raises even when it found a router ("Success").
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from fastmarket.net.default_route import Router
from fastmarket.portmap.messages import IpAddress, MapAnswer, MapRefusal, MapRequest, RequestKind

if TYPE_CHECKING:
    from miniupnpc import UPnP

_DESCRIPTION = "fastmarket"  # what the router's page shows
_PERMANENT_ONLY = "OnlyPermanentLeasesSupported"  # UPnP error 725: the lease has to be 0
_CONFLICTS = frozenset({"ConflictInMappingEntry", "ConflictWithOtherMechanisms"})  # 718, 729
_REFUSALS = {
    "Action not authorized": MapRefusal.NOT_AUTHORIZED,  # 606
    "NoPortMapsAvailable": MapRefusal.NO_ROOM,  # 728
}
_OF_THE_LIBRARY = "Miniupnpc"


class UpnpRouter:
    """The router by UPnP; found with the first request, and again after one that was not answered.

    Only the default router is taken: anybody in the network may answer the search."""

    def __init__(self, router: Router, discover_s: float) -> None:
        self._router = router
        self._discover_ms = int(discover_s * 1000)
        self._found: UPnP | None = None

    def answer(self, request: MapRequest) -> MapAnswer | None:
        """What came of it; None: there is no such router, or it did not answer. Blocks for some seconds."""
        known = self._found is not None
        found = self._once(request)
        # The place of its service may have changed with a restart.
        return self._once(request) if found is None and known else found

    def _once(self, request: MapRequest) -> MapAnswer | None:
        upnp = self._found = self._found or self._discover()
        if upnp is None:
            return None
        try:
            return _CALLS[request.kind](upnp, request)
        except Exception as error:  # noqa: BLE001 - it raises nothing else; see the module
            text = str(error)
            if text.startswith(_OF_THE_LIBRARY):
                self._found = None
                return None
            refusal = MapRefusal.CONFLICT if text in _CONFLICTS else _REFUSALS.get(text, MapRefusal.FAILED)
            return MapAnswer(request.kind, refusal)

    def _discover(self) -> UPnP | None:
        try:
            from miniupnpc import UPnP
        except ModuleNotFoundError:
            return None  # there is no wheel for this system
        upnp = UPnP(multicastif=str(self._router.client))
        upnp.discoverdelay = self._discover_ms
        with suppress(Exception):
            upnp.discover()
        try:
            place = urlsplit(str(upnp.selectigd())).hostname
        except Exception:  # noqa: BLE001 - nobody answered
            return None
        return upnp if place == str(self._router.ip) else None


def _probe(upnp: UPnP, request: MapRequest) -> MapAnswer:
    is_lost = bool(request.external_port) and not _is_mapped(upnp, request.external_port)
    return MapAnswer(request.kind, external_ip=_external(upnp), is_lost=is_lost)


def _map(upnp: UPnP, request: MapRequest) -> MapAnswer:
    lifetime = request.lifetime_s
    arguments = (request.external_port, "TCP", upnp.lanaddr, request.internal_port, _DESCRIPTION, "")
    try:
        upnp.addportmapping(*arguments, lifetime)
    except Exception as error:
        if str(error) != _PERMANENT_ONLY:
            raise
        upnp.addportmapping(*arguments, 0)
    return MapAnswer(
        request.kind,
        external_ip=_external(upnp),
        internal_port=request.internal_port,
        external_port=request.external_port,
        lifetime_s=lifetime,
    )


def _unmap(upnp: UPnP, request: MapRequest) -> MapAnswer:
    with suppress(Exception):  # it has gone by itself
        upnp.deleteportmapping(request.external_port, "TCP")
    return MapAnswer(request.kind, internal_port=request.internal_port)


_CALLS: dict[RequestKind, Callable[[UPnP, MapRequest], MapAnswer]] = {
    RequestKind.PROBE: _probe,
    RequestKind.MAP: _map,
    RequestKind.UNMAP: _unmap,
}


def _is_mapped(upnp: UPnP, port: int) -> bool:
    """Whether that outside port leads to us. Without an entry, some routers answer an error, some nothing."""
    try:
        found = upnp.getspecificportmapping(port, "TCP")
    except Exception as error:
        if str(error).startswith(_OF_THE_LIBRARY):
            raise
        return False
    return bool(found) and found[0] == upnp.lanaddr


def _external(upnp: UPnP) -> IpAddress | None:
    try:
        return ip_address(upnp.externalipaddress())
    except ValueError:
        return None
