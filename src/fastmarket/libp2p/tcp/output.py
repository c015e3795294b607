"""What a connection has encrypted and its shell not yet taken: messages one behind the other in one buffer.

As much of the answers as stays in the processor's cache is encrypted at a time; what came of one input goes
to the kernel at once, whom each write costs some 4 us beside its bytes.
"""

from __future__ import annotations

from fastmarket.libp2p.muxed import Sealed
from fastmarket.libp2p.tcp.noise import BULK_BYTES, CipherState, sealed_bytes

# Encrypted without a look at the shell: what 64 requests call for that have answers of 6 KiB.
AHEAD_BYTES = 384 << 10
# With a last message on either side of it. What does not fit, a large write of a program, goes by itself.
OUTPUT_BYTES = AHEAD_BYTES + (128 << 10)
_MOST_PLAIN_BYTES = OUTPUT_BYTES - (sealed_bytes(OUTPUT_BYTES) - OUTPUT_BYTES)  # fits with headers and tags
# The buffer that nobody uses. A connection has one only from its first message to the write, which nearly
# always takes all: so one does for all connections, and its memory need not be mapped anew each time.
_spare: list[bytearray] = []
_MAX_SPARE = 1


class Output:
    """Plaintext in, messages out. `cipher` is set when the handshake is over; before, there is nothing.

    `paused`: the shell does not want any for now, so nothing is encrypted ahead.
    """

    __slots__ = ("_room", "cipher", "paused", "size")

    def __init__(self) -> None:
        self.cipher: CipherState | None = None
        self.paused = False
        self.size = 0
        """Bytes that are encrypted and not taken."""
        self._room: memoryview | None = None

    def run_ahead(self, plaintext: bytearray) -> bool:
        """Encrypts and empties `plaintext` in the midst of input; False, and nothing is changed: the shell
        has to take what there is. Raises NetworkFault once the nonces are used up."""
        if self.paused or self.size >= AHEAD_BYTES:
            return False
        return self._add(plaintext)

    def take(self, plaintext: bytearray) -> Sealed:
        """All there is, `plaintext` behind it, which is emptied. A view may go to `recycle`, or be kept.

        Raises NetworkFault once the nonces are used up.
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
    """Nobody will look at these bytes any more: their buffer is free for others."""
    if len(_spare) < _MAX_SPARE and isinstance(taken.obj, bytearray):
        _spare.append(taken.obj)


def compact(taken: Sealed) -> bytes:
    """The bytes by themselves, for who has to keep them."""
    if isinstance(taken, bytes):
        return taken
    data = bytes(taken)
    recycle(taken)
    return data
