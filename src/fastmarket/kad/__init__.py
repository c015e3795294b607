"""Kademlia, sans-IO (specs kad-dht). `Engine` is the node; `query` is what other protocols plug into it."""
