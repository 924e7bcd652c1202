"""The read side of the edge: a query bus, consistency by token, and the read store, opened read-only."""
