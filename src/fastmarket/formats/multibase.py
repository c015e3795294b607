"""Text in any multibase (multiformats/multibase): the rare forms of peer ids and certificate hashes."""

from __future__ import annotations


def decode_multibase(text: str) -> bytes:
    """The bytes that `text` names, prefix first; ValueError if it is none. The caller bounds its length."""
    from multiformats import multibase  # a tenth of a second to import, and most programs never need it

    try:
        return bytes(multibase.decode(text))
    except KeyError as error:
        raise ValueError("not a multibase prefix") from error
