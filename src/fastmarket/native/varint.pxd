# Unsigned varints for the kernels: include/varint.h, which says what the two kinds are.

from libc.stdint cimport uint8_t, uint64_t

cdef extern from "varint.h" nogil:
    enum:
        FM_MAX_PROTOBUF_VARINT
    Py_ssize_t fm_uvarint_read(const uint8_t *data, Py_ssize_t size, Py_ssize_t at, uint64_t *value) noexcept
    Py_ssize_t fm_protobuf_varint_read(const uint8_t *data, Py_ssize_t size, Py_ssize_t at,
                                       uint64_t *value) noexcept
    const char *fm_varint_fault(Py_ssize_t answer) noexcept
    Py_ssize_t fm_varint_size(uint64_t value) noexcept
    Py_ssize_t fm_varint_write(uint8_t *out, uint64_t value) noexcept


cdef inline Py_ssize_t uvarint(const uint8_t *data, Py_ssize_t size, Py_ssize_t at, uint64_t *value) except -1:
    """The offset behind the multiformats varint at `at`. Raises ValueError."""
    cdef Py_ssize_t end = fm_uvarint_read(data, size, at, value)
    if end < 0:
        raise ValueError(fm_varint_fault(end).decode())
    return end


cdef inline Py_ssize_t protobuf_varint(const uint8_t *data, Py_ssize_t size, Py_ssize_t at,
                                       uint64_t *value) except -1:
    """The offset behind the protobuf varint at `at`. Raises ValueError."""
    cdef Py_ssize_t end = fm_protobuf_varint_read(data, size, at, value)
    if end < 0:
        raise ValueError(fm_varint_fault(end).decode())
    return end
