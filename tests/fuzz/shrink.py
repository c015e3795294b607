"""Makes the input of a finding as short and as plain as it can be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

MAX_STEPS: Final = 4000  # checks; a finding of 4 kB takes some hundred


def shrink(data: bytes, still: Callable[[bytes], bool], max_steps: int = MAX_STEPS) -> bytes:
    """A short input for which `still` holds, as it does for `data`: pieces are taken away, halves first, then
    bytes made zero."""
    steps = max_steps

    def holds(candidate: bytes) -> bool:
        nonlocal steps
        steps -= 1
        return steps >= 0 and still(candidate)

    data = _without_pieces(data, holds)
    for at in range(len(data)):
        if data[at]:
            plain = data[:at] + b"\0" + data[at + 1 :]
            if holds(plain):
                data = plain
    return data


def _without_pieces(data: bytes, holds: Callable[[bytes], bool]) -> bytes:
    size = len(data)
    while size:
        at = 0
        while at < len(data):
            candidate = data[:at] + data[at + size :]
            if holds(candidate):
                data = candidate
            else:
                at += size
        size //= 2
    return data
