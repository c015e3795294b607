"""libp2p over one byte stream, sans-IO: multistream-select, Noise, Yamux, identify, ping, request streams."""
