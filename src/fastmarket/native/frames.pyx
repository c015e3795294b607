"""The wire path of an inbound request in one piece: out of its Yamux frame, into its handler, its reply framed.

`receive_frames` takes Yamux data frames out of a decrypted chunk. A request that has arrived whole, on a stream
that has nothing else under way, is answered in the same pass. Everything else is left to the caller (libp2p.yamux,
libp2p.channels), which does the same for any frame.

Sources: libp2p/specs yamux; multiformats/unsigned-varint.
"""

from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_GET_SIZE, PyByteArray_Resize
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from fastmarket.native.varint cimport FM_MAX_PROTOBUF_VARINT, fm_uvarint_read, fm_varint_write

cdef enum:
    _HEADER = 12
    _GRANT = 128 << 10
    _FRAME = 64 << 10
    _PIECE = 1 << 10

HEADER_BYTES = _HEADER
GRANT_BYTES = _GRANT  # consumed bytes given back in one window update: half a window, as go-yamux does
MAX_DATA_FRAME_BYTES = _FRAME  # that we send; go-yamux's, and all receivers take it
PIECE_BYTES = _PIECE  # fed to a responder at once: the answers to so much may stand beyond every bound


cdef class StreamState:
    """The fields of one yamux stream; libp2p.yamux_stream says what they mean."""

    cdef public object sink
    cdef public bytearray outbox
    cdef public long long stream_id, send_window, recv_window, credit
    cdef public bint inbound, acknowledged, fin_queued, fin_sent, remote_ended


cdef class Served:
    """What a sink tells this loop about the requests it answers.

    `handle(connection, request, now)` answers a request of at most `limit` bytes; None: give the sink everything.
    `partial` is 0 while no request has come in part, `held` what waits for room. `failed(error)` is called with what
    the handler raised.
    """

    cdef public object handle, connection, channels
    cdef public bytearray held
    cdef public Py_ssize_t limit, partial
    cdef public double used_at


cdef inline uint32_t _u32(const uint8_t *at) noexcept nogil:
    return (<uint32_t> at[0] << 24) | (<uint32_t> at[1] << 16) | (<uint32_t> at[2] << 8) | at[3]


cdef inline bint _at_rest(Served sink, StreamState stream, Py_ssize_t length):
    return (
        sink.handle is not None
        and not sink.partial
        and length <= _PIECE
        and not PyByteArray_GET_SIZE(sink.held)
        and not PyByteArray_GET_SIZE(stream.outbox)
        and not stream.fin_queued
    )


cdef inline Py_ssize_t _request_at(const uint8_t *data, Py_ssize_t length, Py_ssize_t limit) noexcept nogil:
    """Where the body begins of a frame that fills `data` exactly; 0 where it does not."""
    cdef uint64_t size
    cdef Py_ssize_t start = fm_uvarint_read(data, length, 0, &size)
    if start < 0 or length < 3 or size != <uint64_t> (length - start):
        return 0
    return start if length - start <= limit else 0


cdef uint8_t *_frame(bytearray out, StreamState stream, Py_ssize_t size, int flags) except NULL:
    """Room for `size` bytes behind the header of a data frame at the end of `out`."""
    cdef Py_ssize_t held = PyByteArray_GET_SIZE(out)
    cdef uint8_t *at
    PyByteArray_Resize(out, held + _HEADER + size)
    at = <uint8_t *> PyByteArray_AS_STRING(out) + held
    at[0] = at[1] = at[2] = 0
    at[3] = <uint8_t> flags
    at[4] = <uint8_t> (stream.stream_id >> 24)
    at[5] = <uint8_t> (stream.stream_id >> 16)
    at[6] = <uint8_t> (stream.stream_id >> 8)
    at[7] = <uint8_t> stream.stream_id
    at[8] = <uint8_t> (size >> 24)
    at[9] = <uint8_t> (size >> 16)
    at[10] = <uint8_t> (size >> 8)
    at[11] = <uint8_t> size
    return at + _HEADER


def write_frame(bytearray out not None, StreamState stream not None, data not None) -> bool:
    """Appends `data` as one data frame; False where the window, the frame's bound or what waits forbids it."""
    cdef bytes plain = data if type(data) is bytes else bytes(data)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(plain)
    if size > stream.send_window or size > _FRAME or PyByteArray_GET_SIZE(stream.outbox):
        return False
    stream.send_window -= size
    memcpy(_frame(out, stream, size, 0), PyBytes_AS_STRING(plain), size)
    return True


def flag_frame(bytearray out not None, StreamState stream not None, int flags) -> None:
    """Appends an empty data frame with `flags`."""
    _frame(out, stream, 0, flags)


cdef int _reply(object mux, bytearray out, StreamState stream, bytes reply) except -1:
    """The reply behind its length, as one data frame."""
    cdef uint8_t length[FM_MAX_PROTOBUF_VARINT]
    cdef uint8_t *at
    cdef Py_ssize_t size = PyBytes_GET_SIZE(reply), head = fm_varint_write(length, <uint64_t> size), framed
    framed = head + size
    if framed > stream.send_window or framed > _FRAME:
        mux.write(stream, PyBytes_FromStringAndSize(<char *> length, head) + reply)
        return 0
    stream.send_window -= framed
    at = _frame(out, stream, framed, 0)
    memcpy(at, length, head)
    memcpy(at + head, PyBytes_AS_STRING(reply), size)
    return 0


cdef int _serve(object mux, bytearray out, StreamState stream, Served sink, bytes request, object now) except -1:
    try:
        reply = sink.handle(sink.connection, request, now)
        if reply is not None and not stream.fin_queued:
            _reply(mux, out, stream, reply)
    except Exception as error:
        sink.failed(error)
    return 0


def receive_frames(mux, bytes chunk not None, Py_ssize_t at, object now, Py_ssize_t most_out) -> int:
    """Takes the plain data frames that follow in `chunk` from `at` on; where the first begins that it leaves.

    Left are: what is no data frame, has a flag, is empty, has not come whole, breaks a window, is for a stream
    that is gone or ended; and everything once more than `most_out` bytes stand in `mux.out`.
    """
    cdef const uint8_t *data = <const uint8_t *> PyBytes_AS_STRING(chunk)
    cdef Py_ssize_t end = PyBytes_GET_SIZE(chunk), start, length, body
    cdef dict streams = mux.streams
    cdef bytearray out = mux.out
    cdef StreamState stream
    cdef Served sink
    cdef double seconds = now
    cdef bint used = False
    while at + _HEADER <= end and PyByteArray_GET_SIZE(out) <= most_out:
        if data[at] | data[at + 1] | data[at + 2] | data[at + 3]:
            break
        length = _u32(data + at + 8)
        start = at + _HEADER
        if not length or length > end - start:
            break
        found = streams.get(_u32(data + at + 4))
        if found is None:
            break
        stream = <StreamState?> found
        if length > stream.recv_window or stream.remote_ended:
            break
        stream.recv_window -= length
        at = start + length
        body = 0
        if isinstance(stream.sink, Served):
            sink = <Served> stream.sink
            if _at_rest(sink, stream, length) and not mux.blocked_bytes:
                body = _request_at(data + start, length, sink.limit)
        if body:
            if not used:
                sink.channels.used_at = now
                used = True
            sink.used_at = seconds
            _serve(mux, out, stream, sink, chunk[start + body:at], now)
            stream.credit += length
        else:
            stream.credit += stream.sink.received(chunk[start:at], now)
        if stream.credit >= _GRANT:
            mux.grant(stream)
    return at
