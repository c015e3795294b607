"""Which blocks are surely not sold: a Bloom filter of SHA-256 digests, each in one line of the cache.

Strangers ask for blocks that they never saw announced; such a question costs a look at 64 bytes, and no disk.
A digest is its own hash: it names the line, and the bits in it. A party that makes up digests that seem to be there
has them looked up, no more.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_RawCalloc, PyMem_RawFree
from libc.stdint cimport uint8_t, uint64_t

cdef enum:
    _LINE = 64  # bytes
    _PROBES = 6  # bits of a digest, 9 bits of it for each: the number of a bit in a line
    _DIGEST = 32
    _MULTIHASH = 34

MAX_DIGESTS = 1 << 30
BITS_A_DIGEST = 10  # about 1 % of those that are not there seem to be


cdef inline uint64_t _word(const uint8_t *data) noexcept nogil:
    """Little-endian, on any machine."""
    cdef uint64_t word = 0
    cdef int i
    for i in range(8):
        word |= <uint64_t> data[i] << (8 * i)
    return word


cdef class BlockFilter:
    """A set of digests: what it does not have was not added; what it has was, or is mistaken for one."""

    cdef uint8_t *_bits
    cdef uint64_t _lines
    cdef readonly Py_ssize_t capacity
    """Digests for which it was made; more are taken, and more often mistaken."""

    def __init__(self, Py_ssize_t capacity):
        if not 0 < capacity <= MAX_DIGESTS:
            raise ValueError(f"capacity: 1..{MAX_DIGESTS} wanted, got {capacity}")
        if self._bits != NULL:
            raise ValueError("made before")
        self.capacity = capacity
        self._lines = (<uint64_t> capacity * BITS_A_DIGEST + 8 * _LINE - 1) // (8 * _LINE)
        self._bits = <uint8_t *> PyMem_RawCalloc(self._lines, _LINE)
        if self._bits == NULL:
            raise MemoryError

    def __dealloc__(self):
        PyMem_RawFree(self._bits)

    @property
    def size(self) -> int:
        """Its bytes."""
        return self._lines * _LINE

    def add(self, bytes digests not None) -> None:
        """Adds packed digests, 32 bytes each."""
        cdef const uint8_t *data = <const uint8_t *> PyBytes_AS_STRING(digests)
        cdef Py_ssize_t size = PyBytes_GET_SIZE(digests), at
        cdef uint8_t *line
        cdef uint64_t word
        cdef int _probe
        if size % _DIGEST:
            raise ValueError(f"digests: {_DIGEST} bytes each wanted, got {size}")
        for at in range(0, size, _DIGEST):
            line = self._line(data + at)
            word = _word(data + at + 8)
            for _probe in range(_PROBES):
                line[(word >> 3) & 63] |= <uint8_t> (1 << (word & 7))
                word >>= 9

    def may_have(self, bytes multihash not None) -> bool:
        """Whether the digest may have been added; false of what is no multihash of a SHA-256 digest."""
        cdef const uint8_t *data = <const uint8_t *> PyBytes_AS_STRING(multihash)
        cdef const uint8_t *line
        cdef uint64_t word
        cdef int _probe
        if PyBytes_GET_SIZE(multihash) != _MULTIHASH or data[0] != 0x12 or data[1] != _DIGEST:
            return False
        line = self._line(data + 2)
        word = _word(data + 10)
        for _probe in range(_PROBES):
            if not line[(word >> 3) & 63] >> (word & 7) & 1:
                return False
            word >>= 9
        return True

    cdef inline uint8_t *_line(self, const uint8_t *digest) noexcept:
        return self._bits + ((_word(digest) >> 32) * self._lines >> 32) * _LINE
