"""What the database is set to, where that takes back a promise of ours."""

from __future__ import annotations

import structlog
from sqlalchemy import Connection

_PROMISES = {
    "synchronous_commit": "the last acknowledged commands are lost when the database crashes",
    "fsync": "the log can be lost or damaged when the machine crashes",
    "full_page_writes": "the log can be damaged when the machine crashes",
}
"""Settings of PostgreSQL, and what ``off`` means."""


def tell_of_risks(connection: Connection) -> None:
    """Say in the log which settings of the database break promises."""
    if connection.dialect.name != "postgresql":
        return
    for name, meaning in _PROMISES.items():
        if connection.exec_driver_sql(f"SHOW {name}").scalar_one() == "off":
            structlog.get_logger().warning(f"PostgreSQL runs with {name}=off: {meaning}")
