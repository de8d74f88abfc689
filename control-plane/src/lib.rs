//! The control plane: admin REST, actors, gRPC server.
