"""Bitswap on the connections of a host."""
