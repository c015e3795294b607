"""Selling and getting, end to end: real processes on loopback, beside Kubo's where it can be built."""
