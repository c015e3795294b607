"""SIGHUP: reloads what can change while a node runs. Other settings need a restart."""

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

_BESIDE = frozenset({"log_level", "sources"})  # reloaded; and not a setting


class Reloading:
    """The settings a running node uses."""

    def __init__(
        self,
        settings: ServerSettings,
        resolved: Callable[[], ServerSettings],
        reload_node: Callable[[], None],
    ) -> None:
        """`resolved` reads options, environment and file again; `reload_node` reloads the files they name, or
        raises `CallerFault` and changes nothing."""
        self._settings = settings
        self._resolved = resolved
        self._reload_node = reload_node

    def reload(self) -> None:
        """Reloads; on any fault, logs it and leaves the node as it was."""
        try:
            found = self._resolved()
            try:
                self._reload_node()
            except CallerFault as fault:
                raise CallerFault(self._settings.source(fault.field), fault.reason) from None
        except CallerFault as fault:
            log.error("SIGHUP: nothing changed: %s", fault)
            return
        logs.set_level(found.log_level)
        changed = [
            field.name.replace("_", "-")
            for field in fields(found)
            if field.name not in _BESIDE and getattr(found, field.name) != getattr(self._settings, field.name)
        ]
        if changed:
            log.warning("SIGHUP: restart needed to apply %s", ", ".join(changed))
        log.info("SIGHUP: reloaded tokens, certificates and log level")
