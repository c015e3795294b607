"""The Kademlia message, and cached encoded responses."""
