"""Videos are found by words."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    # Behind the version the number: who follows the catalogue goes on in the middle of a large change.
    op.drop_index("ix_videos_version", "videos")
    op.create_index("ix_videos_version", "videos", ["version", "number"])
    op.create_table(
        "search_spellings",
        sa.Column("variant", sa.String(length=8), nullable=False),
        sa.Column("word", sa.String(length=40), nullable=False),
        sa.PrimaryKeyConstraint("variant", "word", name=op.f("pk_search_spellings")),
        sqlite_with_rowid=False,
    )
    if op.get_bind().dialect.name == "sqlite":
        # Words come folded and split, with spaces between them; the plain tokenizer leaves them as they are.
        op.execute(
            "CREATE VIRTUAL TABLE search_texts USING fts5("
            "title, filed, description, tokenize = 'ascii', detail = column, prefix = '2 3')"
        )
    else:
        op.execute("CREATE TABLE search_texts (number BIGINT PRIMARY KEY, words TSVECTOR NOT NULL)")
        op.execute("CREATE INDEX ix_search_texts_words ON search_texts USING gin (words)")
    op.execute("INSERT INTO counters (name, value) VALUES ('search_version', 0), ('search_number', 0)")
