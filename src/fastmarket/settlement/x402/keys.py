"""secp256k1 keys of the EVM, by libsecp256k1."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fastmarket.errors import CallerFault
from fastmarket.secret_files import read_secret
from fastmarket.settlement.x402.encoding import ADDRESS_BYTES, keccak256

if TYPE_CHECKING:
    import coincurve

SIGNATURE_BYTES = 65
_V = 27  # added to the last byte of a signature: 27 or 28, as the EVM's ecrecover has it
# Half of the order of the curve. Of the two signatures that anybody can make of one, the lower counts.
_MAX_S = 0x7FFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFF_5D576E73_57A4501D_DFE92F46_681B20A0


class EvmKey:
    """A private key; it is never shown."""

    __slots__ = ("_key", "address")

    def __init__(self, secret: bytes) -> None:
        """32 bytes. Raises CallerFault("key"), ModuleNotFoundError."""
        import coincurve  # of the extra: the rest of the package does without it

        try:
            self._key = coincurve.PrivateKey(secret)
        except ValueError:
            raise CallerFault("key", "is not a secp256k1 private key") from None
        self.address = _address(self._key.public_key)

    @classmethod
    def read(cls, path: Path, widest: str) -> EvmKey:
        """Of a file with 64 hexadecimal digits. Raises CallerFault("key")."""
        text = read_secret(str(path), "key", widest).decode("ascii", "replace").strip().removeprefix("0x")
        try:
            secret = bytes.fromhex(text)
        except ValueError:
            secret = b""
        if len(secret) != 32:
            raise CallerFault("key", f"{path} does not have 64 hexadecimal digits")
        return cls(secret)

    def sign(self, digest: bytes) -> bytes:
        """65 bytes: r, s, and 27 or 28."""
        raw = self._key.sign_recoverable(digest, hasher=None)
        return bytes(raw[:-1] + bytes([raw[-1] + _V]))


def signer(digest: bytes, signature: bytes) -> bytes | None:
    """The address whose key signed; None: it is no signature that contracts take."""
    if len(signature) != SIGNATURE_BYTES or signature[-1] not in (_V, _V + 1):
        return None
    if int.from_bytes(signature[32:64], "big") > _MAX_S:
        return None
    import coincurve

    try:
        raw = signature[:-1] + bytes([signature[-1] - _V])
        return _address(coincurve.PublicKey.from_signature_and_message(raw, digest, hasher=None))
    except Exception:  # noqa: BLE001 - coincurve raises a bare Exception for numbers that are on no curve
        return None


def _address(key: coincurve.PublicKey) -> bytes:
    return keccak256(key.format(compressed=False)[1:])[-ADDRESS_BYTES:]
