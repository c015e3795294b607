"""What every command of the client is run with."""

from __future__ import annotations

from dataclasses import dataclass

from fastmarket.cli.link import MarketLink
from fastmarket.cli.profile import Profile
from fastmarket.cli.render import Screen


@dataclass(frozen=True, slots=True)
class Context:
    """The context of a command: the node it calls, the user it acts for, and the screen it writes to."""

    link: MarketLink
    profile: Profile
    screen: Screen
    as_json: bool = False
