"""The commands: `fastmarket-server`, `fastmarket-client`, and the demo."""
