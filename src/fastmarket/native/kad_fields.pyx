"""The fields of a Kademlia message, its peers still encoded.

Sources: libp2p/specs kad-dht, "RPC messages"; protobuf.dev, "Encoding".
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint64_t

from fastmarket.native.varint cimport protobuf_varint

cdef enum:
    _KIND = 1
    _KEY = 2
    _RECORD = 3
    _CLOSER = 8
    _PROVIDER = 9


def message_fields(bytes body not None, Py_ssize_t max_closer, Py_ssize_t max_providers) -> tuple:
    """(type, key, record or None, closer peers, providers) of a kad message; peers still encoded, those beyond the
    two bounds left out, and of fields that come twice the last. Raises ValueError."""
    cdef const uint8_t *data = <const uint8_t *> PyBytes_AS_STRING(body)
    cdef Py_ssize_t end = PyBytes_GET_SIZE(body), at = 0, start
    cdef uint64_t tag, value, kind = 0
    cdef bytes key = b"", record = None
    cdef list closer = [], providers = []
    while at < end:
        at = protobuf_varint(data, end, at, &tag)
        value = 0
        if tag & 7 == 2:
            at = protobuf_varint(data, end, at, &value)
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
            at = protobuf_varint(data, end, at, &value)
        elif tag & 7 == 1 or tag & 7 == 5:
            at += 8 if tag & 7 == 1 else 4
            if at > end:
                raise ValueError("message is cut short")
        else:
            raise ValueError("message has a malformed field")
        if tag >> 3 == _KIND:
            kind = value
    return kind, key, record, closer, providers
