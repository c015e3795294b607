"""The table of targets. A new module is one line here."""

from __future__ import annotations

from tests.fuzz.target import Target
from tests.fuzz.targets import (
    config,
    content,
    exchange,
    files,
    fleet,
    formats,
    kad,
    market,
    names,
    network,
    offers,
    payments,
    portmap,
    sockets,
    storage,
    streams,
    web,
)

TARGETS: tuple[Target, ...] = (
    *formats.TARGETS,
    *kad.TARGETS,
    *offers.TARGETS,
    *streams.TARGETS,
    *network.TARGETS,
    *content.TARGETS,
    *names.TARGETS,
    *exchange.TARGETS,
    *payments.TARGETS,
    *portmap.TARGETS,
    *storage.TARGETS,
    *files.TARGETS,
    *config.TARGETS,
    *fleet.TARGETS,
    *market.TARGETS,
    *web.TARGETS,
    *sockets.TARGETS,
)
