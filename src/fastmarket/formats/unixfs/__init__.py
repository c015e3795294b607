"""Files and directories as IPFS has them: nodes of UnixFS, built and read. Sans-IO."""
