"""A connection's encrypted output that its shell has not yet taken: consecutive messages in one buffer.

Answers are encrypted in pieces that stay in the CPU cache; the output for one input goes to the kernel in one
write, since each write costs some 4 us besides its bytes.
"""

from __future__ import annotations

from typing import TypeAlias

from fastmarket.libp2p.noise import BULK_BYTES, CipherState, sealed_bytes

# Encrypted without waiting for the shell: the answers of 6 KiB to 64 requests.
AHEAD_BYTES = 384 << 10
# With room for a last message on either side. What does not fit, a program's large write, is sent separately.
OUTPUT_BYTES = AHEAD_BYTES + (128 << 10)
_MOST_PLAIN_BYTES = OUTPUT_BYTES - (sealed_bytes(OUTPUT_BYTES) - OUTPUT_BYTES)  # fits with headers and tags
# The unused buffer. A connection has one only from its first message to the write, which nearly always takes
# everything: so one is enough for all connections, and its memory need not be mapped again each time.
_spare: list[bytearray] = []
_MAX_SPARE = 1

Sealed: TypeAlias = bytes | memoryview


class Output:
    """Plaintext in, messages out. `cipher` is set when the handshake is done; before, there is no output.

    `paused`: the shell takes no output at present, so nothing is encrypted ahead.
    """

    __slots__ = ("_room", "cipher", "paused", "size")

    def __init__(self) -> None:
        self.cipher: CipherState | None = None
        self.paused = False
        self.size = 0
        """Encrypted bytes not yet taken."""
        self._room: memoryview | None = None

    def run_ahead(self, plaintext: bytearray) -> bool:
        """Encrypts and empties `plaintext` in the middle of input; returns False, changing nothing, if the
        shell has to take output first. Raises NetworkFault once the nonces are exhausted."""
        if self.paused or self.size >= AHEAD_BYTES:
            return False
        return self._add(plaintext)

    def take(self, plaintext: bytearray) -> Sealed:
        """Returns all output, including `plaintext`, which is emptied. A view may be kept or passed to
        `recycle`.

        Raises NetworkFault once the nonces are exhausted.
        """
        if self.cipher is None:
            return b""
        rest = b""
        if plaintext and not ((self.size or len(plaintext) >= BULK_BYTES) and self._add(plaintext)):
            rest = self.cipher.seal(plaintext)
            plaintext.clear()
        size, room = self.size, self._room
        if room is None:
            return rest
        self.size, self._room = 0, None
        return b"".join((room[:size], rest)) if rest else room[:size]

    def _add(self, plaintext: bytearray) -> bool:
        size, cipher, room = self.size, self.cipher, self._room
        if cipher is None or size + len(plaintext) > _MOST_PLAIN_BYTES:
            return False
        if room is None:
            room = self._room = _room()
        self.size = cipher.seal_into(plaintext, room, size)
        plaintext.clear()
        return True


def _room() -> memoryview:
    try:
        return memoryview(_spare.pop())
    except IndexError:
        return memoryview(bytearray(OUTPUT_BYTES))


def recycle(taken: memoryview) -> None:
    """These bytes are no longer needed: their buffer may be reused."""
    if len(_spare) < _MAX_SPARE and isinstance(taken.obj, bytearray):
        _spare.append(taken.obj)


def compact(taken: Sealed) -> bytes:
    """A copy of the bytes, for callers that keep them."""
    if isinstance(taken, bytes):
        return taken
    data = bytes(taken)
    recycle(taken)
    return data
