"""The table of targets. A new module is one line here."""

from __future__ import annotations

from tests.fuzz.target import Target
from tests.fuzz.targets import config, content, formats, storage

TARGETS: tuple[Target, ...] = (*formats.TARGETS, *config.TARGETS, *content.TARGETS, *storage.TARGETS)
