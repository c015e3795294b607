"""The network side of fetching contents from their holders."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class HolderConfig:
    """How holders are reached and asked; what a fetch asks of which is in `exchange.fetching`."""

    # HTTP connections to one holder during one fetch, each with one request at a time: as many blocks of
    # 256 KiB under way fill 1 Gbit/s at a round trip of 30 ms
    max_connections_per_holder: int = 16
    # Over all fetches of a node, each a descriptor; further ones wait
    max_connections: int = 256
    dial_timeout_s: float = 5.0  # per address, TCP and TLS together
    resolve_timeout_s: float = 5.0  # of a host name
    max_addresses: int = 4  # of a host name that are tried
    probe_timeout_s: float = 1.0  # HEAD of a block, with everything before it
    # What a holder that is overloaded (429, 503) may ask for; beyond it nobody would still be waiting
    max_retry_after_s: float = 300.0
    # Holders of one fetch at a time; further ones wait until one of them has ended. A popular content has
    # thousands, of which the cheapest live ones are enough
    max_holders: int = 64
    search_timeout_s: float = 5.0  # of one search for holders; those found are asked meanwhile
    # Between searches of a fetch whose holders do not serve all: others may have come
    search_interval_s: float = 30.0
    pay_timeout_s: float = 10.0  # for the last receipt of a fetch; it is sent with the next one otherwise
    progress_interval_s: float = 0.25  # between reports of progress to a caller, which people look at
