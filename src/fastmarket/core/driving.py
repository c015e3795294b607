"""The one pump of all drivers: executes a node's actions and delivers its events until there are none
left."""

from __future__ import annotations

from fastmarket.core.events import Event, Persist
from fastmarket.core.node import NodeCore
from fastmarket.kad.events import SendRequest


class Driver:
    """What a driver does for a node."""

    __slots__ = ()

    def send(self, request: SendRequest) -> None:
        """Sends a request; `handle_reply` or `handle_failure` comes once, later."""
        raise NotImplementedError

    def persist(self, action: Persist) -> None:
        """Makes changes durable; `handle_persisted` comes once, later."""
        raise NotImplementedError

    def deliver(self, event: Event) -> None:
        """Delivers an event."""
        raise NotImplementedError


def pump(core: NodeCore, driver: Driver, now: float) -> None:
    """Runs the node after an input, or after several; then the driver arms `core.next_timer()`."""
    while True:
        for action in core.poll_actions(now):
            if isinstance(action, SendRequest):
                driver.send(action)
            else:
                driver.persist(action)
        for event in core.poll_events(now):
            driver.deliver(event)
        if not core.has_more:
            return
