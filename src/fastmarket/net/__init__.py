"""The network shell: sockets, dials, hosts, and what drives the sans-IO node over them."""
