"""What was seen of each video's file: frames decoded, share of distinct ones, a quality flag."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("videos", sa.Column("frames_decoded", sa.Integer(), nullable=True))
    op.add_column("videos", sa.Column("distinct_share", sa.Double(), nullable=True))
    op.add_column("videos", sa.Column("quality", sa.String(length=20), nullable=True))
