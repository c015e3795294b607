"""One node, sans-IO: commands in, requests and changes to keep out, one timer. `NodeCore` is the node."""
