"""What every command of the client is run with."""

from __future__ import annotations

from dataclasses import dataclass

from fastmarket.cli.link import MarketLink
from fastmarket.cli.profile import Profile
from fastmarket.cli.render import Screen


@dataclass(frozen=True, slots=True)
class Context:
    """Where a command is run: whom it asks, for whom, and where it writes."""

    link: MarketLink
    profile: Profile
    screen: Screen
    as_json: bool = False
