"""The routing table: entries, replacement cache, diversity, liveness, and what is kept of it between runs."""
