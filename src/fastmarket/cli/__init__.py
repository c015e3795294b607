"""The command-line programs: `fastmarket-server`, `fastmarket-client`, and the demo."""
