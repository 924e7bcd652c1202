"""Twofold's engine: CQRS and event sourcing behind gRPC, free of any domain."""
