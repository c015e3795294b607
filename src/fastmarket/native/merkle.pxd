# What native/batch.pyx shares with native/merkle.pyx: framing, hashing, and how a plain offer is made of its body.

from libc.stdint cimport uint8_t, uint64_t

cdef enum:
    HASH = 32
    PREFIX = 17
    MAX_LEAF = 4096  # above the longest offer; what is longer is hashed in a buffer of its own

cdef Py_ssize_t field(const uint8_t *data, Py_ssize_t size, Py_ssize_t at, uint8_t tag,
                      Py_ssize_t *start) except -1
cdef int hash_leaf(const uint8_t *body, Py_ssize_t size, uint8_t *node) noexcept nogil
cdef void hash_pair(const uint8_t *left, const uint8_t *right, uint8_t *node) noexcept nogil

cdef class PlainOffers:
    cdef type _offer, _metadata, _alone
    cdef object _is_host
    cdef bytes _envelope, _root, _raw_signer, _user_id
    cdef uint64_t _count, _began, _ended, _version, _codec
    cdef object _signer, _issued_at, _not_after, _form
    cdef str _user_name, _ip
    cdef int sign_by(self, object signer, bytes raw_signer) except -1
    cdef object made(self, const uint8_t *body, Py_ssize_t size, object signed, object index)
