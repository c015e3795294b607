"""The catalogue of what is sold, with real files."""
