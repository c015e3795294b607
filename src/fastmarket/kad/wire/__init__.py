"""The Kademlia message, and replies kept encoded."""
