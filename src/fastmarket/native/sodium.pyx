"""libsodium's curves and ChaCha20-Poly1305, called without Python between: Ed25519, X25519 and Noise's cipher.

The library is the one inside PyNaCl. Its functions are reached by their addresses, which cffi tells: a call
through cffi costs some three microseconds of conversions, more than the cipher itself on a small frame.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint64_t, uintptr_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

from nacl._sodium import ffi, lib

ctypedef int (*keypair_t)(uint8_t *public, uint8_t *secret, const uint8_t *seed) noexcept nogil
ctypedef int (*sign_t)(uint8_t *signed, unsigned long long *signed_size, const uint8_t *message,
                       unsigned long long size, const uint8_t *secret) noexcept nogil
ctypedef int (*open_t)(uint8_t *message, unsigned long long *size, const uint8_t *signed,
                       unsigned long long signed_size, const uint8_t *public) noexcept nogil
ctypedef int (*base_t)(uint8_t *public, const uint8_t *private) noexcept nogil
ctypedef int (*mult_t)(uint8_t *shared, const uint8_t *private, const uint8_t *public) noexcept nogil
ctypedef int (*encrypt_t)(uint8_t *sealed, unsigned long long *sealed_size, const uint8_t *plain,
                          unsigned long long size, const uint8_t *associated, unsigned long long associated_size,
                          const uint8_t *unused, const uint8_t *nonce, const uint8_t *key) noexcept nogil
ctypedef int (*decrypt_t)(uint8_t *plain, unsigned long long *size, uint8_t *unused, const uint8_t *sealed,
                          unsigned long long sealed_size, const uint8_t *associated,
                          unsigned long long associated_size, const uint8_t *nonce,
                          const uint8_t *key) noexcept nogil

cdef enum:
    _KEY = 32
    _SECRET = 64
    _SIGNATURE = 64
    _TAG = 16
    _LENGTH = 2
    _ON_STACK = 1024  # a message this short is verified without memory of its own

# Wrong types here would be calls into the void: they are compared with what PyNaCl declares.
_TYPES = {
    "crypto_sign_seed_keypair": "int(*)(unsigned char *, unsigned char *, unsigned char *)",
    "crypto_sign":
        "int(*)(unsigned char *, unsigned long long *, unsigned char *, unsigned long long, unsigned char *)",
    "crypto_sign_open":
        "int(*)(unsigned char *, unsigned long long *, unsigned char *, unsigned long long, unsigned char *)",
    "crypto_scalarmult_base": "int(*)(unsigned char *, unsigned char *)",
    "crypto_scalarmult": "int(*)(unsigned char *, unsigned char *, unsigned char *)",
    "crypto_aead_chacha20poly1305_ietf_encrypt":
        "int(*)(unsigned char *, unsigned long long *, unsigned char *, unsigned long long, unsigned char *, "
        "unsigned long long, unsigned char *, unsigned char *, unsigned char *)",
    "crypto_aead_chacha20poly1305_ietf_decrypt":
        "int(*)(unsigned char *, unsigned long long *, unsigned char *, unsigned char *, unsigned long long, "
        "unsigned char *, unsigned long long, unsigned char *, unsigned char *)",
}


cdef uintptr_t _address(str name) except 0:
    function = getattr(lib, name)
    found = ffi.typeof(function).cname
    if found != _TYPES[name]:
        raise ImportError(f"{name} of PyNaCl is {found}: another version is needed")
    return int(ffi.cast("uintptr_t", ffi.addressof(lib, name)))


if lib.sodium_init() < 0:
    raise ImportError("libsodium does not start: no source of randomness")
cdef keypair_t _keypair = <keypair_t> _address("crypto_sign_seed_keypair")
cdef sign_t _sign = <sign_t> _address("crypto_sign")
cdef open_t _open = <open_t> _address("crypto_sign_open")
cdef base_t _base = <base_t> _address("crypto_scalarmult_base")
cdef mult_t _mult = <mult_t> _address("crypto_scalarmult")
cdef encrypt_t _encrypt = <encrypt_t> _address("crypto_aead_chacha20poly1305_ietf_encrypt")
cdef decrypt_t _decrypt = <decrypt_t> _address("crypto_aead_chacha20poly1305_ietf_decrypt")

KEY_BYTES = _KEY
SECRET_BYTES = _SECRET
SIGNATURE_BYTES = _SIGNATURE
TAG_BYTES = _TAG


cdef inline uint8_t *_data(bytes item) noexcept:
    return <uint8_t *> PyBytes_AS_STRING(item)


cdef int _sized(bytes item, Py_ssize_t size, str name) except -1:
    if PyBytes_GET_SIZE(item) != size:
        raise ValueError(f"{name}: {size} bytes wanted, got {len(item)}")
    return 0


def ed25519_secret(bytes seed not None) -> bytes:
    """The seed and the public key behind it, 64 bytes: what signing takes. ValueError unless 32 bytes."""
    _sized(seed, _KEY, "seed")
    cdef uint8_t public[_KEY]
    cdef bytes secret = PyBytes_FromStringAndSize(NULL, _SECRET)
    _keypair(public, _data(secret), _data(seed))
    return secret


def ed25519_sign(bytes secret not None, bytes message not None) -> bytes:
    """The signature of 64 bytes (RFC 8032, 5.1.6). ValueError unless `secret` has 64."""
    _sized(secret, _SECRET, "secret")
    cdef Py_ssize_t size = PyBytes_GET_SIZE(message)
    cdef uint8_t *signed = <uint8_t *> malloc(_SIGNATURE + size)
    if signed == NULL:
        raise MemoryError
    _sign(signed, NULL, _data(message), size, _data(secret))
    cdef bytes signature = PyBytes_FromStringAndSize(<char *> signed, _SIGNATURE)
    free(signed)
    return signature


def ed25519_verify(bytes public not None, bytes message not None, bytes signature not None) -> bool:
    """Whether the signature holds. Public keys and points of small order, and encodings other than the one
    right one, are refused: what is left is what RFC 8032, 5.1.7 accepts without multiplying by 8."""
    cdef Py_ssize_t size = PyBytes_GET_SIZE(message)
    cdef uint8_t near[_SIGNATURE + _ON_STACK]
    cdef uint8_t *signed = near
    cdef int failed
    if PyBytes_GET_SIZE(public) != _KEY or PyBytes_GET_SIZE(signature) != _SIGNATURE:
        return False
    if size > _ON_STACK:
        signed = <uint8_t *> malloc(_SIGNATURE + size)
        if signed == NULL:
            raise MemoryError
    memcpy(signed, _data(signature), _SIGNATURE)
    memcpy(signed + _SIGNATURE, _data(message), size)
    failed = _open(NULL, NULL, signed, _SIGNATURE + size, _data(public))
    if signed != near:
        free(signed)
    return failed == 0


def x25519_public(bytes private not None) -> bytes:
    """RFC 7748's X25519 with the base point. ValueError unless 32 bytes."""
    _sized(private, _KEY, "private")
    cdef bytes public = PyBytes_FromStringAndSize(NULL, _KEY)
    _base(_data(public), _data(private))
    return public


def x25519(bytes private not None, bytes public not None) -> bytes | None:
    """The shared secret; None when it is all zeros, as with a point of low order. ValueError unless 32 bytes."""
    _sized(private, _KEY, "private")
    _sized(public, _KEY, "public")
    cdef bytes shared = PyBytes_FromStringAndSize(NULL, _KEY)
    return shared if _mult(_data(shared), _data(private), _data(public)) == 0 else None


cdef class Aead:
    """ChaCha20-Poly1305 (RFC 8439) under one key; a nonce is a counter in its last eight bytes, as Noise has it."""

    cdef uint8_t key[_KEY]

    def __cinit__(self, bytes key not None):
        _sized(key, _KEY, "key")
        memcpy(self.key, _data(key), _KEY)

    cdef bytes _sealed(self, uint64_t nonce, object plain, bytes associated, Py_ssize_t head):
        """`head` bytes of room, then ciphertext and tag."""
        cdef uint8_t iv[12]
        cdef Py_buffer view
        cdef bytes out
        _counter(iv, nonce)
        PyObject_GetBuffer(plain, &view, PyBUF_SIMPLE)
        try:
            out = PyBytes_FromStringAndSize(NULL, head + view.len + _TAG)
            _encrypt(_data(out) + head, NULL, <uint8_t *> view.buf, view.len,
                     NULL if associated is None else _data(associated),
                     0 if associated is None else PyBytes_GET_SIZE(associated), NULL, iv, self.key)
        finally:
            PyBuffer_Release(&view)
        return out

    cdef bytes _opened(self, uint64_t nonce, const uint8_t *sealed, Py_ssize_t size, bytes associated):
        cdef uint8_t iv[12]
        cdef bytes plain
        if size < _TAG:
            return None
        _counter(iv, nonce)
        plain = PyBytes_FromStringAndSize(NULL, size - _TAG)
        if _decrypt(_data(plain), NULL, NULL, sealed, size,
                    NULL if associated is None else _data(associated),
                    0 if associated is None else PyBytes_GET_SIZE(associated), iv, self.key):
            return None
        return plain

    def encrypt(self, uint64_t nonce, plaintext not None, bytes associated=None) -> bytes:
        """Ciphertext and tag."""
        return self._sealed(nonce, plaintext, associated, 0)

    def frame(self, uint64_t nonce, plaintext not None) -> bytes:
        """Ciphertext and tag behind their length in two bytes. ValueError when that cannot say it."""
        cdef bytes out = self._sealed(nonce, plaintext, None, _LENGTH)
        cdef Py_ssize_t size = PyBytes_GET_SIZE(out) - _LENGTH
        if size > 0xFFFF:
            raise ValueError("plaintext: too long for one frame")
        _data(out)[0] = <uint8_t> (size >> 8)
        _data(out)[1] = <uint8_t> size
        return out

    def decrypt(self, uint64_t nonce, ciphertext not None, bytes associated=None) -> bytes | None:
        """The plaintext; None when the tag does not hold."""
        cdef Py_buffer view
        PyObject_GetBuffer(ciphertext, &view, PyBUF_SIMPLE)
        try:
            return self._opened(nonce, <uint8_t *> view.buf, view.len, associated)
        finally:
            PyBuffer_Release(&view)

    def decrypt_part(self, uint64_t nonce, bytes source not None, Py_ssize_t start, Py_ssize_t end) -> bytes | None:
        """As `decrypt`, of `source[start:end]`. ValueError when that lies outside."""
        if not 0 <= start <= end <= PyBytes_GET_SIZE(source):
            raise ValueError("outside of the source")
        return self._opened(nonce, _data(source) + start, end - start, None)


cdef inline void _counter(uint8_t *iv, uint64_t nonce) noexcept nogil:
    cdef int i
    memset(iv, 0, 4)
    for i in range(8):
        iv[4 + i] = <uint8_t> (nonce >> 8 * i)


# ---- Noise's symmetric state (noiseprotocol.org revision 34, sections 4.3 and 5.2) ----------------------------

cdef extern from "sha256_impl.h" nogil:
    const char *fm_sha256_init() noexcept
    void fm_sha256(const uint8_t *data, size_t size, uint8_t *out) noexcept

fm_sha256_init()

cdef enum:
    _BLOCK = 64  # of SHA-256
    _HASH = 32
    _MIXED_ON_STACK = 512  # nearly every handshake message is shorter


cdef void _hmac(const uint8_t *key, const uint8_t *message, size_t size, uint8_t *out) noexcept nogil:
    """HMAC-SHA256 (RFC 2104) with a key of 32 bytes, over 33 at the most; `message` may be NULL where there are
    none, which C allows no memcpy of."""
    cdef uint8_t inner[_BLOCK + _HASH + 1]
    cdef uint8_t outer[_BLOCK + _HASH]
    cdef int i
    memset(inner, 0x36, _BLOCK)
    memset(outer, 0x5C, _BLOCK)
    for i in range(_HASH):
        inner[i] ^= key[i]
        outer[i] ^= key[i]
    if size:
        memcpy(inner + _BLOCK, message, size)
    fm_sha256(inner, _BLOCK + size, outer + _BLOCK)
    fm_sha256(outer, _BLOCK + _HASH, out)


cdef void _hkdf(const uint8_t *chaining, const uint8_t *material, size_t size,
                uint8_t *first, uint8_t *second) noexcept nogil:
    """The two-output HKDF; `first` may be `chaining`."""
    cdef uint8_t secret[_HASH]
    cdef uint8_t message[_HASH + 1]
    _hmac(chaining, material, size, secret)
    message[0] = 1
    _hmac(secret, message, 1, first)
    memcpy(message, first, _HASH)
    message[_HASH] = 2
    _hmac(secret, message, _HASH + 1, second)


cdef class SymmetricState:
    """Chaining key, handshake hash and, after the first agreed secret, a cipher with its counter."""

    cdef uint8_t _hash[_HASH]
    cdef uint8_t _chaining[_HASH]
    cdef Aead _aead
    cdef uint64_t _nonce

    def __cinit__(self, bytes name not None):
        """`name` of the protocol: exactly 32 bytes, so it is its own first hash. ValueError."""
        _sized(name, _HASH, "name")
        memcpy(self._hash, _data(name), _HASH)
        memcpy(self._chaining, _data(name), _HASH)

    @property
    def hash(self) -> bytes:
        """Of all that was said."""
        return PyBytes_FromStringAndSize(<char *> self._hash, _HASH)

    def mix_hash(self, bytes data not None) -> None:
        """h = SHA256(h || data)."""
        cdef Py_ssize_t size = PyBytes_GET_SIZE(data)
        cdef uint8_t near[_HASH + _MIXED_ON_STACK]
        cdef uint8_t *mixed = near
        if size > _MIXED_ON_STACK:
            mixed = <uint8_t *> malloc(_HASH + size)
            if mixed == NULL:
                raise MemoryError
        memcpy(mixed, self._hash, _HASH)
        memcpy(mixed + _HASH, _data(data), size)
        fm_sha256(mixed, _HASH + size, self._hash)
        if mixed != near:
            free(mixed)

    def mix_shared(self, bytes private not None, bytes public not None) -> bool:
        """Mixes in what X25519 gives for these two, as a new key at nonce 0; False when that is worthless."""
        cdef bytes key
        shared = x25519(private, public)
        if shared is None:
            return False
        key = PyBytes_FromStringAndSize(NULL, _KEY)
        _hkdf(self._chaining, _data(shared), _KEY, self._chaining, _data(key))
        self._aead = Aead(key)
        self._nonce = 0
        return True

    def encrypt_and_hash(self, bytes plaintext not None) -> bytes:
        """Plain before the first key."""
        cdef bytes out = plaintext
        if self._aead is not None:
            out = self._aead._sealed(self._nonce, plaintext, self.hash, 0)
            self._nonce += 1
        self.mix_hash(out)
        return out

    def decrypt_and_hash(self, bytes data not None) -> bytes | None:
        """None when it does not authenticate; nothing has changed then."""
        cdef bytes plaintext = data
        if self._aead is not None:
            plaintext = self._aead._opened(self._nonce, _data(data), PyBytes_GET_SIZE(data), self.hash)
            if plaintext is None:
                return None
            self._nonce += 1
        self.mix_hash(data)
        return plaintext

    def split(self) -> tuple[bytes, bytes]:
        """The keys of the initiator's and the responder's sending cipher."""
        cdef bytes first = PyBytes_FromStringAndSize(NULL, _KEY)
        cdef bytes second = PyBytes_FromStringAndSize(NULL, _KEY)
        _hkdf(self._chaining, NULL, 0, _data(first), _data(second))
        return first, second
