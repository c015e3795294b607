"""Hostile bytes for every entry that takes them: `python -m tests.fuzz --help`."""
