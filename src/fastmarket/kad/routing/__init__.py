"""The routing table: entries, replacement cache, diversity, liveness, and the peers kept between runs."""
