"""The offer, and values around it."""
