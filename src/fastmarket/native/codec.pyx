"""The wire path of an inbound request in one piece, and the common multiaddrs: text and bytes.

`receive_frames` takes yamux data frames out of a decrypted chunk. A request that has come whole, to a stream that
has nothing else under way, is answered in the same pass: out of its frame, into the handler, its reply framed
into `out`. Everything else it leaves to its caller (libp2p.yamux, libp2p.channels), which does the same for any
frame at all. The plain twins of all this are in tests/reference/codec.py.

Sources: yamux spec.md; multiformats/multiaddr, unsigned-varint.
"""

from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_GET_SIZE, PyByteArray_Resize
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int8_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy


cdef extern from "Python.h":
    bint PyUnicode_IS_ASCII(object text)
    Py_ssize_t PyUnicode_GET_LENGTH(object text)
    char *PyUnicode_DATA(object text)
    object PyUnicode_New(Py_ssize_t size, Py_UCS4 maxchar)


cdef extern from "multiformat.h" nogil:
    enum:
        FM_MAX_BINARY
        FM_MAX_TEXT
    void fm_multiformat_init() noexcept
    Py_ssize_t fm_base58_write(const uint8_t *data, Py_ssize_t size, uint8_t *out) noexcept
    Py_ssize_t fm_base58_read(const uint8_t *text, Py_ssize_t size, uint8_t *out) noexcept


cdef enum:
    _HEADER = 12
    _GRANT = 128 << 10
    _FRAME = 64 << 10
    _PIECE = 1 << 10
    # Codes of the address table, the second of two bytes where there are two (multiaddr protocols.csv).
    _IP4 = 4
    _TCP = 6
    _P2P_LOW = 0xA5
    _P2P_HIGH = 3
    _IDENTITY_SIZE = 38  # of an Ed25519 peer id
    _SHA256_SIZE = 34  # of a hashed one
    # Fields of a kad message (specs kad-dht, "RPC messages").
    _KIND = 1
    _KEY = 2
    _RECORD = 3
    _CLOSER = 8
    _PROVIDER = 9

HEADER_BYTES = _HEADER
GRANT_BYTES = _GRANT  # consumed bytes given back in one window update: half a window, as go-yamux does
MAX_DATA_FRAME_BYTES = _FRAME  # that we send; go-yamux's, and all receivers take it
PIECE_BYTES = _PIECE  # fed to a responder at once: the answers to so much may stand beyond every bound

fm_multiformat_init()


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
    cdef Py_ssize_t size, start = 1
    if length < 3:
        return 0
    size = data[0]
    if size > 0x7F:
        if data[1] == 0 or data[1] > 0x7F:
            return 0
        size = (size & 0x7F) | <Py_ssize_t> data[1] << 7
        start = 2
    return start if start + size == length and size <= limit else 0


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
    cdef Py_ssize_t size = PyBytes_GET_SIZE(reply), rest = size, head = 0, framed
    cdef uint8_t length[10]
    cdef uint8_t *at
    while rest >= 0x80:
        length[head] = <uint8_t> (rest & 0x7F | 0x80)
        rest >>= 7
        head += 1
    length[head] = <uint8_t> rest
    head += 1
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


# ---- fields of a kad message ---------------------------------------------------------------------------------

cdef int _varint(const uint8_t *data, Py_ssize_t end, Py_ssize_t *at, uint64_t *value) except -1:
    """As protobuf has them: up to 10 bytes, 64 bits, not necessarily the shortest form."""
    cdef int shift = 0
    cdef uint8_t byte = 0x80
    value[0] = 0
    while byte & 0x80:
        if at[0] >= end:
            raise ValueError("message is cut short")
        byte = data[at[0]]
        at[0] += 1
        if shift == 63 and byte > 1:
            raise ValueError("varint without end")
        value[0] |= <uint64_t> (byte & 0x7F) << shift
        shift += 7
    return 0


def message_fields(bytes body not None, Py_ssize_t max_closer, Py_ssize_t max_providers) -> tuple:
    """(type, key, record or None, closer peers, providers) of a kad message; peers still encoded, those beyond the
    two bounds left out, and of fields that come twice the last. Raises ValueError."""
    cdef const uint8_t *data = <const uint8_t *> PyBytes_AS_STRING(body)
    cdef Py_ssize_t end = PyBytes_GET_SIZE(body), at = 0, start
    cdef uint64_t tag, value, kind = 0
    cdef bytes key = b"", record = None
    cdef list closer = [], providers = []
    while at < end:
        _varint(data, end, &at, &tag)
        value = 0
        if tag & 7 == 2:
            _varint(data, end, &at, &value)
            if value > <uint64_t> (end - at):
                raise ValueError("message is cut short")
            start = at
            at += <Py_ssize_t> value
            if tag >> 3 == _CLOSER:
                if len(closer) < max_closer:
                    closer.append(body[start:at])
            elif tag >> 3 == _PROVIDER:
                if len(providers) < max_providers:
                    providers.append(body[start:at])
            elif tag >> 3 == _KEY:
                key = body[start:at]
            elif tag >> 3 == _RECORD:
                record = body[start:at]
            continue
        if tag & 7 == 0:
            _varint(data, end, &at, &value)
        elif tag & 7 == 1 or tag & 7 == 5:
            at += 8 if tag & 7 == 1 else 4
            if at > end:
                raise ValueError("message is cut short")
        else:
            raise ValueError("message has a malformed field")
        if tag >> 3 == _KIND:
            kind = value
    return kind, key, record, closer, providers


# ---- /ip4/A/tcp/P, alone or with /p2p/ID behind it: nearly every address there is -----------------------------

cdef inline Py_ssize_t _number(const uint8_t *text, Py_ssize_t size, Py_ssize_t *at, uint32_t most) noexcept nogil:
    """A decimal number without leading zeros; -1 where there is none."""
    cdef Py_ssize_t first = at[0]
    cdef uint32_t value = 0
    while at[0] < size and 48 <= text[at[0]] <= 57 and at[0] - first < 5:
        value = 10 * value + text[at[0]] - 48
        at[0] += 1
    if at[0] == first or value > most or (text[first] == 48 and at[0] - first > 1):
        return -1
    return value


cdef inline bint _is_peer_id(const uint8_t *raw, Py_ssize_t size) noexcept nogil:
    """An Ed25519 key as it stands, or a SHA-256 of some other key."""
    if size == _IDENTITY_SIZE:
        return memcmp(raw, "\x00\x24\x08\x01\x12\x20", 6) == 0
    return size == _SHA256_SIZE and raw[0] == 0x12 and raw[1] == 0x20


def addr_from_text(str text not None):
    """The bytes of a plain TCP address; None for any other, and for what is none."""
    cdef Py_ssize_t size = PyUnicode_GET_LENGTH(text), at = 5, part, value, used
    cdef const uint8_t *data
    cdef uint8_t out[10 + FM_MAX_BINARY]
    if size > FM_MAX_TEXT or not PyUnicode_IS_ASCII(text):
        return None
    data = <const uint8_t *> PyUnicode_DATA(text)
    if size < 18 or memcmp(data, "/ip4/", 5):
        return None
    out[0] = _IP4
    for part in range(4):
        value = _number(data, size, &at, 255)
        if value < 0 or at >= size or data[at] != (46 if part < 3 else 47):
            return None
        out[1 + part] = <uint8_t> value
        at += 1
    if size - at < 5 or memcmp(data + at, "tcp/", 4):
        return None
    at += 4
    value = _number(data, size, &at, 65535)
    if value < 0:
        return None
    out[5] = _TCP
    out[6] = <uint8_t> (value >> 8)
    out[7] = <uint8_t> value
    if at == size:
        return PyBytes_FromStringAndSize(<char *> out, 8)
    if size - at < 6 or size - at > 5 + 64 or memcmp(data + at, "/p2p/", 5):
        return None
    used = fm_base58_read(data + at + 5, size - at - 5, out + 11)
    if used < 0 or not _is_peer_id(out + 11, used):
        return None
    out[8] = _P2P_LOW
    out[9] = _P2P_HIGH
    out[10] = <uint8_t> used
    return PyBytes_FromStringAndSize(<char *> out, 11 + used)


cdef inline Py_ssize_t _decimal(uint8_t *out, uint32_t value) noexcept nogil:
    cdef uint8_t digits[5]
    cdef Py_ssize_t used = 0, i
    while True:
        digits[used] = 48 + value % 10
        used += 1
        value //= 10
        if not value:
            break
    for i in range(used):
        out[i] = digits[used - 1 - i]
    return used


def addr_to_text(bytes raw not None):
    """The text of a plain TCP address; None for any other, and for what is none."""
    cdef const uint8_t *data = <const uint8_t *> PyBytes_AS_STRING(raw)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(raw), at = 5, part
    cdef uint8_t out[40 + FM_MAX_TEXT]
    if size < 8 or data[0] != _IP4 or data[5] != _TCP:
        return None
    memcpy(out, "/ip4/", 5)
    for part in range(4):
        at += _decimal(out + at, data[1 + part])
        out[at] = 46 if part < 3 else 47
        at += 1
    memcpy(out + at, "tcp/", 4)
    at += 4
    at += _decimal(out + at, <uint32_t> data[6] << 8 | data[7])
    if size > 8:
        if size < 11 or data[8] != _P2P_LOW or data[9] != _P2P_HIGH or data[10] != size - 11:
            return None
        if not _is_peer_id(data + 11, size - 11):
            return None
        memcpy(out + at, "/p2p/", 5)
        at += 5
        at += fm_base58_write(data + 11, size - 11, out + at)
    text = PyUnicode_New(at, 127)
    memcpy(PyUnicode_DATA(text), out, at)
    return text
