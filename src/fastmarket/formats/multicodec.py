"""Codes used in content identifiers. Source: multiformats/multicodec, table.csv."""

from __future__ import annotations

# Codecs of blocks: tags "ipld" and "serialization", and those of whole files used as codecs.
CODECS = frozenset(
    {
        *(0x50, 0x51, 0x55, 0x60, 0x63, 0x70, 0x71, 0x72, 0x78, 0x7B, 0x7C, 0x85, 0x86),
        *range(0x90, 0x9C),  # eth-*
        *(0xB0, 0xB1, 0xB2, 0xC0, 0xC1, 0xD0, 0xD1, 0xE2, 0xE3, 0xE4, 0xE5, 0xE7, 0xE8, 0xEA, 0xF0),
        *(0x0129, 0x0200, 0x0202, 0xB401, 0xF101, 0xF102, 0xFA, 0xFB),
    }
)

IDENTITY = 0x00
# Names of hash functions, with the minimum and maximum digest length in bytes.
_HASHES: dict[int, tuple[str, int, int]] = {
    IDENTITY: ("identity", 0, 1 << 20),
    0x11: ("sha1", 20, 20),
    0x12: ("sha2-256", 32, 32),
    0x13: ("sha2-512", 64, 64),
    0x14: ("sha3-512", 64, 64),
    0x15: ("sha3-384", 48, 48),
    0x16: ("sha3-256", 32, 32),
    0x17: ("sha3-224", 28, 28),
    0x18: ("shake-128", 16, 64),
    0x19: ("shake-256", 32, 64),
    0x1A: ("keccak-224", 28, 28),
    0x1B: ("keccak-256", 32, 32),
    0x1C: ("keccak-384", 48, 48),
    0x1D: ("keccak-512", 64, 64),
    0x1E: ("blake3", 16, 128),
    0x20: ("sha2-384", 48, 48),
    0x22: ("murmur3-x64-64", 8, 8),
    0x56: ("dbl-sha2-256", 32, 32),
    0xD4: ("md4", 16, 16),
    0xD5: ("md5", 16, 16),
    0x1012: ("sha2-256-trunc254-padded", 32, 32),
    0x1013: ("sha2-224", 28, 28),
    0x1014: ("sha2-512-224", 28, 28),
    0x1015: ("sha2-512-256", 32, 32),
    0x1053: ("ripemd-160", 20, 20),
    0x1054: ("ripemd-256", 32, 32),
    0x1D01: ("kangarootwelve", 16, 64),
    0x534D: ("sm3-256", 32, 32),
    0xB401: ("poseidon-bls12_381-a2-fc1", 32, 32),
    0xB502: ("ssz-sha2-256-bmt", 32, 32),
    **{0xB200 + size: (f"blake2b-{8 * size}", size, size) for size in range(1, 65)},
    **{0xB240 + size: (f"blake2s-{8 * size}", size, size) for size in range(1, 33)},
}


def hash_function(code: int) -> tuple[str, int, int] | None:
    """Its name and its minimum and maximum digest length in bytes; None if it is unknown."""
    return _HASHES.get(code)
