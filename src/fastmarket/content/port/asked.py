"""What a request turned out to ask for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from fastmarket.content.port.messages import GatewayRequest
from fastmarket.content.port.resolving import Resolved
from fastmarket.content.port.targets import GatewayTarget


class Asked(NamedTuple):
    """`parameters`: those of the media type in Accept."""

    request: GatewayRequest
    target: GatewayTarget
    found: Resolved
    parameters: Mapping[str, str]
