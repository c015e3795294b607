"""Paying for bytes between strangers: tabs, signed receipts, credit. Sans-IO, for both sides."""
