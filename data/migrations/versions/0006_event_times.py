"""What a viewer was shown lately is looked up by time."""

from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.create_index("ix_events_user_id_occurred_at", "events", ["user_id", "occurred_at"])
