"""The schema of the log, brought up to date by Alembic at start."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from twofold_server.errors import StartupError

_MIGRATIONS = Path(__file__).parent / "migrations"
_VERSION_TABLE = "log_schema"


def migrate(connection: Connection) -> None:
    """Create the tables or bring them up to date; raises StartupError for a newer schema."""
    if connection.dialect.name == "postgresql":
        # Two servers that start together must not both migrate. The number is arbitrary.
        connection.execute(text("SELECT pg_advisory_xact_lock(727261)"))
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    script = ScriptDirectory.from_config(config)
    current = _current(connection)
    if current == script.get_current_head():
        return
    if current is not None and current not in {revision.revision for revision in script.walk_revisions()}:
        raise StartupError(
            f"the event database has schema {current}, unknown to this version; start a newer Twofold"
        )
    config.attributes["connection"] = connection
    config.attributes["version_table"] = _VERSION_TABLE
    command.upgrade(config, "head")


def require_current(connection: Connection) -> None:
    """Raise StartupError where there is no log, or one of another schema than this version's."""
    current = _current(connection)
    if current is None:
        raise StartupError("the event database holds no log; start a command server first")
    if current != ScriptDirectory(str(_MIGRATIONS)).get_current_head():
        raise StartupError(
            f"the event database has schema {current}; start a command server of this version first"
        )


def _current(connection: Connection) -> str | None:
    context = MigrationContext.configure(connection, opts={"version_table": _VERSION_TABLE})
    return context.get_current_revision()
