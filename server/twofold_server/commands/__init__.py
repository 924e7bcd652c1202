"""The write side: a bus, its middleware, and load-decide-append."""
