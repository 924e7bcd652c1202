"""Measurements: `make bench`, or `python -m bench --help`. What they mean stands in docs/benchmarks.md."""
