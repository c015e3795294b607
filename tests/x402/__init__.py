"""Vouchers on a real EVM: `make test-x402`. Skipped where fastmarket[x402,x402-test] is not installed."""
