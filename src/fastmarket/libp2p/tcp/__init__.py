"""Connections over a stream of bytes, as TCP: Noise for security, Yamux for streams, without I/O."""
