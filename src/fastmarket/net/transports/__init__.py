"""Transports: one folder for each, and one row in `table`."""
