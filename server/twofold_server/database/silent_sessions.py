"""Sessions whose process froze in the midst of a statement, with locks in its hands.

No limit of PostgreSQL ends these. asyncpg has a new statement parsed first and sends its values afterwards.
In between the session is not idle, so `idle_in_transaction_session_timeout` does not see it, and
`statement_timeout` does nothing while the server reads from its client (ProcessInterrupts in PostgreSQL's
tcop/postgres.c: "If we are reading a command from the client, just ignore the cancel request"). Only
`transaction_timeout` would, from PostgreSQL 17 on. So whoever waited in vain for a lock looks for them.
"""

from __future__ import annotations

import structlog
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

_LOCK_NOT_AVAILABLE = "55P03"
_END_THEM = text(
    """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND usename = current_user
      AND application_name = current_setting('application_name')
      AND state = 'active' AND wait_event = 'ClientRead'
      AND state_change < clock_timestamp() - make_interval(secs => :seconds)
    """
)
_logger = structlog.get_logger()


def waited_in_vain(error: DBAPIError) -> bool:
    """Whether a statement failed because somebody else had a lock for too long."""
    return getattr(error.orig, "sqlstate", None) == _LOCK_NOT_AVAILABLE


def end_silent_sessions(connection: Connection, seconds: float) -> None:
    """End the sessions of Twofold's processes that have owed the rest of a statement for so long."""
    with connection.begin():
        ended = connection.execute(_END_THEM, {"seconds": seconds}).scalars().all()
    if ended:
        _logger.warning("ended sessions that were silent in the midst of a statement", sessions=len(ended))
