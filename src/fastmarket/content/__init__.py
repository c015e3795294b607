"""What this node sells: where the bytes of each block are, and whether they are still as they were sold."""
