from collections.abc import Callable
from typing import Any, Final, Protocol

HEADER_BYTES: Final[int]
GRANT_BYTES: Final[int]
MAX_DATA_FRAME_BYTES: Final[int]
PIECE_BYTES: Final[int]

class StreamState:
    sink: Any
    outbox: bytearray
    stream_id: int
    send_window: int
    recv_window: int
    credit: int
    inbound: bool
    acknowledged: bool
    fin_queued: bool
    fin_sent: bool
    remote_ended: bool

class Served:
    handle: Callable[[Any, bytes, float], bytes | None] | None
    connection: Any
    channels: Any
    held: bytearray
    limit: int
    partial: int
    used_at: float

class Mux(Protocol):
    """What `receive_frames` needs of a session."""

    streams: dict[int, Any]
    out: bytearray
    blocked_bytes: int

    def write(self, stream: Any, data: bytes) -> None: ...
    def grant(self, stream: Any) -> None: ...

def receive_frames(mux: Mux, chunk: bytes, at: int, now: float, most_out: int) -> int: ...
def write_frame(out: bytearray, stream: StreamState, data: bytes) -> bool: ...
def flag_frame(out: bytearray, stream: StreamState, flags: int) -> None: ...
