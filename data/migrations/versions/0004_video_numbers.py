"""A number for every video, for places where its id is too long: caches and cursors."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("videos", sa.Column("number", sa.BigInteger, nullable=True))
    videos = sa.table("videos", sa.column("id", sa.String), sa.column("created_at", sa.Double), sa.column("number"))
    counters = sa.table("counters", sa.column("name", sa.String), sa.column("value", sa.BigInteger))
    place = sa.func.row_number().over(order_by=(videos.c.created_at, videos.c.id))
    numbered = sa.select(videos.c.id, place.label("place")).subquery()
    op.execute(sa.update(videos).values(number=numbered.c.place).where(videos.c.id == numbered.c.id))
    count = sa.select(sa.func.count()).select_from(videos).scalar_subquery()
    op.execute(sa.insert(counters).from_select(["name", "value"], sa.select(sa.literal("videos"), count)))
    op.create_index("ix_videos_number", "videos", ["number"], unique=True)
