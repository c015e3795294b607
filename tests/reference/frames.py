"""Twin of fastmarket.native.frames: the general way, a frame at a time."""

from __future__ import annotations

from typing import Any

from fastmarket.native.frames import GRANT_BYTES, HEADER_BYTES


def receive_frames(mux: Any, chunk: bytes, at: int, now: float, most_out: int) -> int:
    """Every frame goes to its sink, which answers by `received`; no request is answered in here."""
    while at + HEADER_BYTES <= len(chunk) and len(mux.out) <= most_out:
        kind = int.from_bytes(chunk[at : at + 4], "big")
        stream = mux.streams.get(int.from_bytes(chunk[at + 4 : at + 8], "big"))
        length = int.from_bytes(chunk[at + 8 : at + 12], "big")
        start = at + HEADER_BYTES
        if kind or not length or stream is None or start + length > len(chunk):
            break
        if length > stream.recv_window or stream.remote_ended:
            break
        at = start + length
        stream.recv_window -= length
        stream.credit += stream.sink.received(chunk[start:at], now)
        if stream.credit >= GRANT_BYTES:
            mux.grant(stream)
    return at


def write_frame(out: bytearray, stream: Any, data: bytes) -> bool:
    if len(data) > min(stream.send_window, 64 << 10) or stream.outbox:
        return False
    stream.send_window -= len(data)
    out += bytes(4) + stream.stream_id.to_bytes(4, "big") + len(data).to_bytes(4, "big") + data
    return True
