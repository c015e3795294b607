"""What a node serves over HTTP: routing for others (Delegated Routing V1). Needs `fastmarket[http]`."""
