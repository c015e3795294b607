"""The table of targets. A new module is one line here."""

from __future__ import annotations

from tests.fuzz.target import Target
from tests.fuzz.targets import (
    config,
    content,
    formats,
    kad,
    market,
    network,
    offers,
    storage,
    streams,
    web,
)

TARGETS: tuple[Target, ...] = (
    *formats.TARGETS,
    *kad.TARGETS,
    *offers.TARGETS,
    *network.TARGETS,
    *streams.TARGETS,
    *content.TARGETS,
    *storage.TARGETS,
    *config.TARGETS,
    *market.TARGETS,
    *web.TARGETS,
)
