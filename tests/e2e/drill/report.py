"""What a drill counted, as one table."""

from __future__ import annotations

from collections.abc import Mapping


def table(title: str, done: Mapping[str, int | float], faults: Mapping[str, int]) -> str:
    """Two columns: what was done, and what was found to be wrong."""
    rows = [*sorted(done.items()), *faults.items()]
    width = max(len(name) for name, _ in rows)
    lines = [f"{name:<{width}}  {value:>10,}" for name, value in sorted(done.items())]
    wrong = [f"{name:<{width}}  {value:>10,}" for name, value in faults.items()]
    rule = "-" * (width + 12)
    return "\n".join(["", title, rule, *lines, rule, *wrong, rule])
