"""Port mapping at the router."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PortMapConfig:
    """Mapping of the listened-on ports at the router of a home network (PCP, NAT-PMP, UPnP)."""

    # "auto": where other machines can connect, no address is announced by hand, and there is a router; "off"
    mode: str = "off"
    # Of a mapping; renewed at half of it. What a node that was killed leaves behind ends by itself. RFC 6887
    # section 15 has 120 s to a day
    lifetime_s: int = 3600
    # Between questions to the router whether it still has the mappings: it may have restarted. One small
    # datagram
    probe_s: float = 10.0
    silent_retry_s: float = 2.0  # until a router that answered before and is silent is asked again
    silent_limit_s: float = 60.0  # of silence, until all protocols are tried again
    # Where no protocol maps, until all are tried again: doubled each time up to the second
    retry_s: float = 15.0
    max_retry_s: float = 1800.0
    # Other outside ports tried when somebody else has the one asked for, in a row
    max_conflicts: int = 8
    # Between re-mappings because a router announced itself: anybody on the network can write in its name
    announce_pause_s: float = 5.0
    discover_s: float = 2.0  # UPnP: time for routers to answer
    router_look_s: float = 10.0  # between looks at the system's default route
    stop_s: float = 1.0  # time for the removal of mappings at shutdown
