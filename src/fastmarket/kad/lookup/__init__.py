"""Lookups: iterative and disjoint, their queries, and what they learn about round trips and the size of the
network."""
