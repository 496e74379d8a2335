"""The sample library: a real gRPC server in memory, for `protogw demo` and for trying things out."""
