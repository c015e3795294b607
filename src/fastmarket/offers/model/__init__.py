"""The offer and the values around it."""
