"""The gRPC edge: services built from descriptors, errors with rich details, health, reflection."""
