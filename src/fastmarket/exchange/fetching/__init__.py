"""Fetching one file from several holders at once: the walk of its DAG, whom to ask, what it costs."""
