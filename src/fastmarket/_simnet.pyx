"""What each message of a simulated network passes: the way from one region to another, and the log of a run."""

import hashlib

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy


cdef enum:
    _REGIONS = 256          # a region is a byte
    _RECORD_BYTES = 25      # time, what, node, other node, request
    _LOG_BYTES = 1 << 16    # so much goes into the digest at once


cdef class Ways:
    """One-way delays between nodes by where they stand, and by what each message waits on its way."""

    cdef double *_seconds    # by region and region
    cdef double *_waits
    cdef Py_ssize_t _count
    cdef Py_ssize_t _waiting
    cdef object _draw

    def __cinit__(self, list seconds not None, list waits not None, draw):
        """`seconds[here][there]`: between regions. Of `waits` one is added each time: that at `draw()` (0 to 1,
        exclusive) of their number."""
        cdef Py_ssize_t i, j
        self._count, self._waiting, self._draw = len(seconds), len(waits), draw
        if not 0 < self._count <= _REGIONS or not self._waiting:
            raise ValueError(f"1..{_REGIONS} regions and a wait wanted, got {self._count} and {self._waiting}")
        self._seconds = <double *> malloc(self._count * self._count * sizeof(double))
        self._waits = <double *> malloc(self._waiting * sizeof(double))
        if self._seconds == NULL or self._waits == NULL:
            raise MemoryError
        for i in range(self._count):
            if len(seconds[i]) != self._count:
                raise ValueError(f"seconds: {self._count} in a row wanted, got {len(seconds[i])}")
            for j in range(self._count):
                self._seconds[i * self._count + j] = seconds[i][j]
        for i in range(self._waiting):
            self._waits[i] = waits[i]

    def __dealloc__(self):
        free(self._seconds)
        free(self._waits)

    cpdef double one_way(self, Py_ssize_t here, Py_ssize_t there) except -1:
        """Seconds from one region to another, this time."""
        if not (0 <= here < self._count and 0 <= there < self._count):
            raise IndexError(f"region: 0..{self._count - 1} wanted, got {here} and {there}")
        cdef Py_ssize_t at = <Py_ssize_t> (<double> self._draw() * self._waiting)
        if not 0 <= at < self._waiting:
            raise ValueError("draw: from 0 to 1, exclusive")
        return self._seconds[here * self._count + there] + self._waits[at]

    def between(self, bytes regions not None, Py_ssize_t here, Py_ssize_t there) -> float:
        """The same between two nodes, of which `regions` says where they stand."""
        cdef const uint8_t *region = <const uint8_t *> PyBytes_AS_STRING(regions)
        cdef Py_ssize_t nodes = PyBytes_GET_SIZE(regions)
        if not (0 <= here < nodes and 0 <= there < nodes):
            raise IndexError(f"node: 0..{nodes - 1} wanted, got {here} and {there}")
        return self.one_way(region[here], region[there])


cdef class MessageLog:
    """A digest over all messages and outcomes of a run: two runs that have the same did the same."""

    cdef object _digest
    cdef uint8_t *_records
    cdef Py_ssize_t _size

    def __cinit__(self):
        self._digest = hashlib.sha256()
        self._records = <uint8_t *> malloc(_LOG_BYTES + _RECORD_BYTES)
        if self._records == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self._records)

    def note(self, double now, str what not None, uint32_t node, uint32_t other, uint64_t request) -> None:
        """At `now` this happened (one ASCII character) to that request of a node to another."""
        cdef uint8_t *at = self._records + self._size
        cdef Py_UCS4 character = what[0]
        memcpy(at, &now, 8)
        at[8] = <uint8_t> character
        memcpy(at + 9, &node, 4)
        memcpy(at + 13, &other, 4)
        memcpy(at + 17, &request, 8)
        self._size += _RECORD_BYTES
        if self._size >= _LOG_BYTES:
            self._move_on()

    cdef int _move_on(self) except -1:
        self._digest.update(PyBytes_FromStringAndSize(<char *> self._records, self._size))
        self._size = 0
        return 0

    def hexdigest(self) -> str:
        """So far."""
        self._move_on()
        return self._digest.hexdigest()
