"""The log of events: a port, an in-memory twin and SQL; and the one writer before it."""
