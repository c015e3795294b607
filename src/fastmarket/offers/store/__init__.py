"""The offers a node stores for the network."""
