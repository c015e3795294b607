"""Transports: a folder for each, and a row in `table`."""
