"""Values with their text and byte forms: peer ids, keys, addresses, content ids, envelopes. Sans-IO."""
