"""AutoNAT v2 (libp2p/specs: autonat/autonat-v2.md): can others connect to our addresses? Sans-IO."""
