"""Offers: signed, expiring, withdrawable promises to serve a content. `protocol` is the node's part of it."""
