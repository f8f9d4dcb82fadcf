"""Which encoder made nothing of a video: for the others it goes on."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("videos", sa.Column("refused_by", sa.String(length=200), nullable=True))
