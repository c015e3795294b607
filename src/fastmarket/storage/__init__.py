"""What a node keeps between runs."""
