"""The table of targets. A new module is one line here."""

from __future__ import annotations

from tests.fuzz.target import Target
from tests.fuzz.targets import formats, kad, network, offers, streams

TARGETS: tuple[Target, ...] = (
    *formats.TARGETS,
    *kad.TARGETS,
    *offers.TARGETS,
    *network.TARGETS,
    *streams.TARGETS,
)
