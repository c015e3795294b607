"""What a target is: an entry that takes bytes which are not ours, and what is judged of each input.

A target's `check` feeds one input to the real entry. It returns if the input is accepted, and raises one of
`faults` if it is refused. It raises `AssertionError` if what was accepted does not round-trip, if a kernel
differs from its twin, or if the node no longer works; that, and every other exception, is a finding. Time and
memory are judged by the harness: `tests.fuzz.judge`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final, TypeVar, cast
from zlib import crc32

T = TypeVar("T")
SAMPLE: Final = 16
"""A kernel is compared with its twin, which takes ten times as long, on one of so many inputs that are fed in
C, and on all others."""


class Shape(Enum):
    """How inputs of a target are built: which mutations, beside those of bytes, make sense."""

    BYTES = "bytes"
    PROTOBUF = "protobuf"
    VARINT_FRAMES = "varint frames"  # each message behind its length: multistream, CAR
    NOISE = "noise"  # frames behind two bytes of length
    YAMUX = "yamux"  # frames of twelve bytes and what they carry
    TEXT = "text"  # separated by punctuation: addresses, CIDs, paths
    CBOR = "cbor"
    JSON = "json"
    TOML = "toml"
    HTTP = "http"  # lines, header fields, and a body
    SQLITE = "sqlite"  # pages
    STEPS = "steps"  # a seed for `Steps`: the target reads what it does from the bytes


@dataclass(frozen=True, slots=True)
class Target:
    """One entry."""

    name: str
    """Of the command line: "kad-request"."""
    entry: str
    """Dotted name of the real entry that is fed; the table shows it."""
    seeds: Callable[[], Sequence[bytes]]
    """Valid inputs, which the project itself makes."""
    check: Callable[[bytes], object]
    """Feeds one input: see the head of this module."""
    faults: tuple[type[BaseException], ...]
    """How this entry refuses."""
    shape: Shape
    quick: Callable[[bytes], object] | None = None
    """The entry alone, refusing by `faults`: fed in C, by the million. `check` sees the inputs of a sample,
    the same ones each time."""
    first: bool = False
    """Whether it is one of the ten that strangers reach first, before anything of them is known."""
    after: Callable[[bytes], None] | None = None
    """Whether the node that got the input still works; runs after each `check`, whose time and memory alone
    are judged. Raises AssertionError; its attribute `culprit`, if there is one, is the input at fault."""
    reset: Callable[[], None] | None = None
    """If `check` keeps state (a whole node): makes it new. Runs every `reset_every` inputs, before an input
    is confirmed, and before each step of shrinking it."""
    reset_every: int = 4096
    longest: int = 4096
    """Bytes of the longest input."""
    max_cpu_s: float = 0.050
    """CPU time of one input. A hundred such inputs a second would take five cores: more is a weapon."""
    spare_bytes: int = 256 << 10
    """What a check may take at its height beside `judge.MEMORY_FACTOR` x input: its own objects, its twin."""


class _Sampling:
    every = True


sampling = _Sampling()
"""`every` is set by the harness."""


def is_sampled(data: bytes) -> bool:
    """Whether to compare with what takes much longer than the entry itself."""
    return sampling.every or crc32(data) % SAMPLE == 0


def as_text(data: bytes) -> str:
    """An input as text; bytes that are not UTF-8 become lone surrogates, as those of a command line do."""
    return data.decode("utf-8", "surrogateescape")


def agree(
    kernel: Callable[[], T], twin: Callable[[], T], refused: tuple[type[BaseException], ...] = (ValueError,)
) -> T:
    """What both return. Raises what the kernel refuses with, if the twin refuses as well, and
    `AssertionError` if one refuses or returns what the other does not."""
    expected, twin_fault = _outcome(twin, refused)
    result, fault = _outcome(kernel, refused)
    if fault is not None and twin_fault is not None:
        raise fault
    assert fault is None, f"the kernel alone refuses ({fault}); its twin: {expected!r:.200}"
    assert twin_fault is None, f"the twin alone refuses ({twin_fault}); the kernel: {result!r:.200}"
    assert result == expected, f"kernel {result!r:.200} is not twin {expected!r:.200}"
    return cast(T, result)


def _outcome(
    call: Callable[[], T], refused: tuple[type[BaseException], ...]
) -> tuple[T | None, BaseException | None]:
    try:
        return call(), None
    except refused as error:
        return None, error


def round_trips(value: T, again: Callable[[T], T]) -> T:
    """The value; `AssertionError` unless encoding and decoding it gives the same."""
    back = again(value)
    assert back == value, f"does not round-trip: {value!r:.200} became {back!r:.200}"
    return value
