"""One node, sans-IO: commands in, requests and changes to persist out, one timer. `NodeCore` is the node."""
