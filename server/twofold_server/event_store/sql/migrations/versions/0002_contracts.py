"""The contract that stored events were written under, package by package."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Create the table; the next start of a command server fills it."""
    op.create_table(
        "accepted_contracts",
        sa.Column("package", sa.String(255), primary_key=True),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.Column("descriptors", sa.LargeBinary, nullable=False),
        sa.Column("context", sa.String(255), nullable=False),
        sa.Column("accepted_at", sa.BigInteger, nullable=False),
    )
