"""The market's gRPC services and their client."""
