"""Lookups: iterative and disjoint, what they ask, and what they learn about round trips and the network's
size."""
