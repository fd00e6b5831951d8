"""The device's one connection: an outbound gRPC stream, and what keeps it alive."""
