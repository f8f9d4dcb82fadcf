"""Events that are retracted, merged or erased: what has gone from the log, and numbers that are never given again."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    # Columns without a default and an index of no row: a log of any size stays where it is.
    op.add_column("events", sa.Column("first_seq", sa.BigInteger(), nullable=True))
    op.add_column("events", sa.Column("was", sa.String(length=20), nullable=True))
    retracted = sa.text("type = 'retracted'")
    op.create_index("ix_events_retracted", "events", ["user_id"], sqlite_where=retracted, postgresql_where=retracted)
    op.create_table(
        "removed_events",
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("viewer", sa.String(length=32), nullable=False),
        sa.Column("removed_as", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_removed_events")),
    )
    op.create_table(
        "erasures",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("viewer", sa.String(length=32), nullable=False),
        sa.Column("erased_at", sa.Double(), nullable=False),
        sa.Column("events", sa.Integer(), nullable=False),
        sa.Column("exposures", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_erasures")),
    )
    op.create_index("ix_erasures_viewer", "erasures", ["viewer"])
    op.execute("INSERT INTO counters (name, value) SELECT 'events', COALESCE(MAX(seq), 0) FROM events")
