"""The shop: one folder for each bounded context."""
