"""Proof that a read model is the fold of the log: verify, repair, explain, rules across models."""
