"""Compiled kernels, beside `_xor` and `_kbucket`. Each has a twin in tests/reference/ and a bench."""
