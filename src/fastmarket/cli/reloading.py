"""SIGHUP: what a running node reads again. The rest of its settings waits for a restart."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import fields
from typing import TYPE_CHECKING

from fastmarket.cli import logs
from fastmarket.errors import CallerFault

if TYPE_CHECKING:
    from fastmarket.cli.settings import ServerSettings

log = logging.getLogger("fastmarket.server")

_BESIDE = frozenset({"log_level", "sources"})  # what is read again, and what is not a setting


class Reloading:
    """The settings that a node runs by."""

    def __init__(
        self,
        settings: ServerSettings,
        resolved: Callable[[], ServerSettings],
        reload_node: Callable[[], None],
    ) -> None:
        """`resolved` reads options, environment and file again; `reload_node` what those name, or raises
        `CallerFault` and changes nothing."""
        self._settings = settings
        self._resolved = resolved
        self._reload_node = reload_node

    def reload(self) -> None:
        """Whatever is wrong is told, and the node goes on as it was."""
        try:
            found = self._resolved()
            try:
                self._reload_node()
            except CallerFault as fault:
                raise CallerFault(self._settings.source(fault.field), fault.reason) from None
        except CallerFault as fault:
            log.error("SIGHUP: nothing was changed: %s", fault)
            return
        logs.set_level(found.log_level)
        changed = [
            field.name.replace("_", "-")
            for field in fields(found)
            if field.name not in _BESIDE and getattr(found, field.name) != getattr(self._settings, field.name)
        ]
        if changed:
            log.warning("SIGHUP: a restart is needed for %s", ", ".join(changed))
        log.info("SIGHUP: tokens, certificates and log level were read again")
