"""Bitswap: peers tell each other which blocks they want, and send those that they have.

Source: ipfs/specs, bitswap-protocol.md, versions 1.0.0 to 1.2.0. What other programs do beyond it is said
where it matters.
"""
