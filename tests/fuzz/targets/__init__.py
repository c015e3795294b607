"""The table of targets. A new module is one line here."""

from __future__ import annotations

from tests.fuzz.target import Target
from tests.fuzz.targets import config, content, exchange, fleet, formats, kad, market, offers, storage, web

TARGETS: tuple[Target, ...] = (
    *formats.TARGETS,
    *kad.TARGETS,
    *offers.TARGETS,
    *content.TARGETS,
    *storage.TARGETS,
    *config.TARGETS,
    *exchange.TARGETS,
    *fleet.TARGETS,
    *market.TARGETS,
    *web.TARGETS,
)
