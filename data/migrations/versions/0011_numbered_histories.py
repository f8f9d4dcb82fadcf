"""Histories by the numbers of videos, out of one index alone: for a list nothing else is read of an event."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    # Of a video that is not there: no event is of one.
    op.add_column("events", sa.Column("video_number", sa.BigInteger, nullable=False, server_default="-1"))
    events = sa.table("events", sa.column("video_id"), sa.column("video_number"))
    videos = sa.table("videos", sa.column("id"), sa.column("number"))
    number = sa.select(videos.c.number).where(videos.c.id == events.c.video_id).scalar_subquery()
    op.execute(sa.update(events).values(video_number=sa.func.coalesce(number, -1)))
    op.create_index("ix_events_history", "events", ["user_id", "occurred_at", "seq", "video_number", "type", "value"])
    op.drop_index("ix_events_user_id_occurred_at", "events")
