"""What a node keeps between two runs."""
