"""What viewers were shown, list by list."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.create_table(
        "exposure_words",
        sa.Column("id", sa.String(length=16), nullable=False),
        sa.Column("words", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_exposure_words")),
    )
    op.create_table(
        "exposures",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer, "sqlite"), nullable=False),
        sa.Column("request_id", sa.String(length=200), nullable=False),
        sa.Column("user_id", sa.String(length=200), nullable=False),
        sa.Column("shown_at", sa.Double(), nullable=False),
        sa.Column("surface", sa.String(length=200), nullable=True),
        sa.Column("country", sa.String(length=2), nullable=True),
        sa.Column("release", sa.String(length=200), nullable=False),
        sa.Column("settings", sa.String(length=16), nullable=False),
        sa.Column("cache", sa.String(length=10), nullable=False),
        sa.Column("first_rank", sa.Integer(), nullable=False),
        sa.Column("words", sa.String(length=16), nullable=False),
        sa.Column("items", sa.LargeBinary(), nullable=False),
        sa.Column("features", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_exposures")),
        sa.ForeignKeyConstraint(["words"], ["exposure_words.id"], name=op.f("fk_exposures_words_exposure_words")),
    )
    op.create_index("ix_exposures_shown_at", "exposures", ["shown_at"])
    op.create_index("ix_exposures_user_id_shown_at", "exposures", ["user_id", "shown_at"])
