"""Peer entries of Kademlia replies that came before: from the bytes they came in to what was read out of them.

A reply names 20 peers, nearly all of them named before. Here each is looked up where it stands in the reply: no
bytes object is made of it, and it is not read again.
"""

from types import GenericAlias

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcmp, memcpy


cdef enum:
    _WAYS = 4  # places an entry may have: with fewer, neighbours would push each other out of a half-full cache


cdef inline uint64_t _hash(const uint8_t *data, Py_ssize_t size) noexcept nogil:
    """Eight bytes at a time. Whoever sends two that fall together has them read again, no more."""
    cdef uint64_t h = <uint64_t> size * <uint64_t> 0x9E3779B97F4A7C15, word
    while size >= 8:
        memcpy(&word, data, 8)
        h = (h ^ word) * <uint64_t> 0xD6E8FEB86659FD93
        h ^= h >> 32
        data += 8
        size -= 8
    if size:
        word = 0
        memcpy(&word, data, size)
        h = (h ^ word) * <uint64_t> 0xD6E8FEB86659FD93
        h ^= h >> 32
    h *= <uint64_t> 0xD6E8FEB86659FD93
    return h ^ (h >> 32)


cdef class PeerCache:
    """At most `capacity` entries of up to `longest` bytes; of those that share a place the oldest gives way.

    A process has one for all its engines, so on a free-threaded CPython several threads use it: one at a time.
    """

    cdef readonly Py_ssize_t capacity
    cdef readonly Py_ssize_t longest
    cdef object _parse
    cdef list _raws    # None where nothing is held
    cdef list _parsed

    def __init__(self, Py_ssize_t capacity, Py_ssize_t longest, parse):
        """`parse(raw)` reads an entry; None, for one that is no good, is remembered like anything else.

        `capacity` is rounded up to a power of two.
        """
        self.longest = longest
        self._parse = parse
        self.resize(capacity)

    def __class_getitem__(cls, item):
        return GenericAlias(cls, item)

    def resize(self, Py_ssize_t capacity) -> None:
        """Forget everything, and have room for that many."""
        cdef Py_ssize_t room = _WAYS
        while room < capacity:
            room *= 2
        cdef list raws = [None] * room, parsed = [None] * room
        with cython.critical_section(self):
            self._raws, self._parsed, self.capacity = raws, parsed, room  # none without the others

    cdef object _look_up(self, const uint8_t *data, Py_ssize_t size):
        """Inside of the critical section, which others may enter while `parse` waits for something."""
        cdef Py_ssize_t first = (_hash(data, size) & <uint64_t> (self.capacity // _WAYS - 1)) * _WAYS, at
        cdef list raws = self._raws
        cdef object held
        for at in range(first, first + _WAYS):
            held = raws[at]
            if held is None:
                break
            if PyBytes_GET_SIZE(held) == size and memcmp(PyBytes_AS_STRING(held), data, size) == 0:
                return self._parsed[at]
        cdef bytes raw = PyBytes_FromStringAndSize(<const char *> data, size)
        cdef object parsed = self._parse(raw)
        if self._raws is raws:  # not resized meanwhile
            for at in range(first + _WAYS - 1, first, -1):
                raws[at] = raws[at - 1]
                self._parsed[at] = self._parsed[at - 1]
            raws[first] = raw
            self._parsed[first] = parsed
        return parsed

    def get(self, bytes raw not None):
        """What one entry says, of at most `longest` bytes."""
        with cython.critical_section(self):
            return self._look_up(<const uint8_t *> PyBytes_AS_STRING(raw), PyBytes_GET_SIZE(raw))

    def read_all(self, bytes body not None, bytes head not None, int tag, Py_ssize_t limit, bint strict):
        """What the first `limit` entries say, those left out that are no good, as a tuple.

        None: the message is something else than `head` and entries of that one-byte tag, each of at most
        `longest` bytes; the caller reads it field by field. `strict`: also where an entry is no good.
        """
        cdef const uint8_t *data = <const uint8_t *> PyBytes_AS_STRING(body)
        cdef Py_ssize_t end = PyBytes_GET_SIZE(body), at = PyBytes_GET_SIZE(head), size
        cdef list found = []
        cdef object parsed
        if end < at or memcmp(data, PyBytes_AS_STRING(head), at):
            return None
        with cython.critical_section(self):  # one for the whole reply
            while at < end:
                if end - at < 2 or data[at] != tag:
                    return None
                size = data[at + 1]
                at += 2
                if size & 0x80:
                    if at == end or data[at] & 0x80 or not data[at]:
                        return None
                    size = (size & 0x7F) | <Py_ssize_t> data[at] << 7
                    at += 1
                if size > self.longest or size > end - at:
                    return None
                if limit > 0:
                    parsed = self._look_up(data + at, size)
                    limit -= 1
                    if parsed is not None:
                        found.append(parsed)
                    elif strict:
                        return None
                at += size
        return tuple(found)
