"""Providers of a key."""
