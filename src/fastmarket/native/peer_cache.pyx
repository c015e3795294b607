"""Peer entries of Kademlia replies that came before: from the bytes they came in to what was read out of them.

A reply names 20 peers, nearly all of them named before. Here each is looked up where it stands in the reply: no
bytes object is made of it, and it is not read again.
"""

from types import GenericAlias

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF
from cpython.tuple cimport PyTuple_New, PyTuple_SET_ITEM
from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcmp, memcpy

from fastmarket.native.varint cimport fm_uvarint_read


cdef extern from "key256.h" nogil:
    void fm_prefetch(const void *at) noexcept


cdef extern from "Python.h":
    ctypedef struct PyListObject:
        PyObject **ob_item


cdef enum:
    _AT_ONCE = 24  # entries looked for together: a reply names 20
    _WAYS = 4  # places an entry may have: with fewer, neighbours would push each other out of a half-full cache


cdef struct Entry:
    const uint8_t *data
    Py_ssize_t size
    Py_ssize_t first  # of the places it may have


cdef inline uint64_t _mixed(uint64_t h, const uint8_t *data, Py_ssize_t size) noexcept nogil:
    cdef uint64_t word = 0
    memcpy(&word, data, size)
    h = (h ^ word) * <uint64_t> 0xD6E8FEB86659FD93
    return h ^ (h >> 32)


cdef inline uint64_t _hash(const uint8_t *data, Py_ssize_t size) noexcept nogil:
    """Of the middle of an entry, where the bytes of its id differ from those of others, and of its end, where its
    addresses do. A peer that sends two that fall together has them read again, no more."""
    cdef uint64_t h = <uint64_t> size * <uint64_t> 0x9E3779B97F4A7C15
    if size >= 24:
        h = _mixed(_mixed(h, data + 8, 8), data + 16, 8)
        h = _mixed(h, data + size - 8, 8)
    else:
        while size >= 8:
            h = _mixed(h, data, 8)
            data += 8
            size -= 8
        h = _mixed(h, data, size)
    h *= <uint64_t> 0xD6E8FEB86659FD93
    return h ^ (h >> 32)


cdef class PeerInfoCache:
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

    cdef inline Py_ssize_t _first(self, const uint8_t *data, Py_ssize_t size) noexcept:
        return (_hash(data, size) & <uint64_t> (self.capacity // _WAYS - 1)) * _WAYS

    cdef object _look_up(self, const uint8_t *data, Py_ssize_t size, Py_ssize_t first):
        """Inside of the critical section, which others may enter while `parse` waits for something."""
        cdef Py_ssize_t at
        cdef list raws = self._raws
        cdef PyObject **held = (<PyListObject *> raws).ob_item
        for at in range(first, first + _WAYS):
            if held[at] == <PyObject *> None:
                break
            if PyBytes_GET_SIZE(<bytes> held[at]) == size:
                if memcmp(PyBytes_AS_STRING(<bytes> held[at]), data, size) == 0:
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
        cdef const uint8_t *data = <const uint8_t *> PyBytes_AS_STRING(raw)
        with cython.critical_section(self):
            return self._look_up(data, PyBytes_GET_SIZE(raw), self._first(data, PyBytes_GET_SIZE(raw)))

    cdef tuple _look_up_all(self, const Entry *entries, Py_ssize_t count, bint strict):
        """What they say; None: one is no good, where that matters.

        Each lies somewhere else: all are on their way before the first is looked at.
        """
        cdef list raws = self._raws
        cdef tuple found = PyTuple_New(count)
        cdef Py_ssize_t i, first, good = 0
        cdef object parsed
        for i in range(count):
            fm_prefetch((<PyListObject *> raws).ob_item + entries[i].first)
        for i in range(count):
            fm_prefetch(<void *> (<PyListObject *> raws).ob_item[entries[i].first])
            fm_prefetch(<void *> (<PyListObject *> self._parsed).ob_item[entries[i].first])
        for i in range(count):
            first = entries[i].first if self._raws is raws else self._first(entries[i].data, entries[i].size)
            parsed = self._look_up(entries[i].data, entries[i].size, first)
            if parsed is not None:
                Py_INCREF(parsed)
                PyTuple_SET_ITEM(found, good, parsed)
                good += 1
            elif strict:
                return None
        return found if good == count else found[:good]

    def read_all(self, bytes body not None, bytes head not None, int tag, Py_ssize_t limit, bint strict):
        """What the first `limit` entries say, those left out that are no good, as a tuple.

        None: the message is something else than `head` and entries of that one-byte tag, each of at most
        `longest` bytes; the caller reads it field by field. `strict`: also where an entry is no good.
        """
        cdef const uint8_t *data = <const uint8_t *> PyBytes_AS_STRING(body)
        cdef Py_ssize_t end = PyBytes_GET_SIZE(body), at = PyBytes_GET_SIZE(head), size
        cdef tuple found = (), more
        cdef Entry entries[_AT_ONCE]
        cdef Py_ssize_t count = 0
        cdef uint64_t length, longest = self.longest
        if end < at or memcmp(data, PyBytes_AS_STRING(head), at):
            return None
        with cython.critical_section(self):  # one for the whole reply
            while at < end:
                if data[at] != tag:
                    return None
                at = fm_uvarint_read(data, end, at + 1, &length)
                if at < 0 or length > longest or length > <uint64_t> (end - at):
                    return None
                size = <Py_ssize_t> length
                if limit > 0:
                    limit -= 1
                    entries[count] = Entry(data + at, size, self._first(data + at, size))
                    count += 1
                    if count == _AT_ONCE:
                        more = self._look_up_all(entries, count, strict)
                        if more is None:
                            return None
                        found += more
                        count = 0
                at += size
            more = self._look_up_all(entries, count, strict)
        return more if more is None or not found else found + more
