"""A node's HTTP endpoints, such as Delegated Routing V1. Needs `fastmarket[http]`."""
