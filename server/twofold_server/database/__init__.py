"""Databases as the engine uses them: a unit of work is a plain function of a SQLAlchemy connection."""

from twofold_server.database.opening import open_database
from twofold_server.database.port import Database

__all__ = ["Database", "open_database"]
