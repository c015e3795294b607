"""Finding offers."""
