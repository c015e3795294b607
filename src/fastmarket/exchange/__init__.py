"""Blocks between nodes: what to fetch from whom, and in which messages. Sans-IO; knows formats only."""
