"""The tables. Times are seconds since 1970 UTC; lists and mappings are JSON."""

import sqlalchemy as sa

metadata = sa.MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
    }
)

#: SQLite numbers rows by itself only when the key is exactly INTEGER.
_Serial = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_RETRACTED = sa.text("type = 'retracted'")

videos = sa.Table(
    "videos",
    metadata,
    sa.Column("id", sa.String(200), primary_key=True),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("tags", sa.JSON, nullable=False),
    sa.Column("labels", sa.JSON, nullable=False),
    sa.Column("duration_s", sa.Double),
    sa.Column("published_at", sa.Double),
    sa.Column("available_from", sa.Double),
    sa.Column("available_until", sa.Double),
    sa.Column("regions", sa.JSON, nullable=False),
    sa.Column("rating", sa.Integer),
    sa.Column("creator", sa.String(200)),
    sa.Column("series", sa.String(200)),
    sa.Column("episode", sa.Integer),
    sa.Column("media_path", sa.Text),
    sa.Column("content_hash", sa.String(64)),
    sa.Column("hidden", sa.Boolean, nullable=False),
    # What the system found out.
    sa.Column("state", sa.String(20), nullable=False),
    sa.Column("reason", sa.Text),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("lease_owner", sa.String(100)),
    sa.Column("lease_until", sa.Double),
    sa.Column("encoder_id", sa.String(200)),
    sa.Column("predicted_labels", sa.JSON, nullable=False),
    sa.Column("thumbnail_path", sa.Text),
    sa.Column("frames_decoded", sa.Integer),
    sa.Column("distinct_share", sa.Double),
    sa.Column("quality", sa.String(20)),
    sa.Column("refused_by", sa.String(200)),
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Column("updated_at", sa.Double, nullable=False),
    sa.Column("removed", sa.Boolean, nullable=False),
    # The value of the catalogue counter when the row was last written: readers ask for what is newer.
    sa.Column("version", sa.BigInteger, nullable=False),
    # A short name that never changes and is never given twice.
    sa.Column("number", sa.BigInteger),
    sa.Index(None, "number", unique=True),
    sa.Index(None, "state", "lease_until"),
    sa.Index(None, "content_hash"),
    sa.Index("ix_videos_version", "version", "number"),
)

events = sa.Table(
    "events",
    metadata,
    sa.Column("seq", _Serial, primary_key=True),
    sa.Column("event_id", sa.String(200), nullable=False, unique=True),
    sa.Column("user_id", sa.String(200), nullable=False),
    sa.Column("video_id", sa.String(200), sa.ForeignKey("videos.id"), nullable=False),
    sa.Column("type", sa.String(20), nullable=False),
    sa.Column("value", sa.Double),
    sa.Column("duration_s", sa.Double),
    sa.Column("occurred_at", sa.Double, nullable=False),
    sa.Column("received_at", sa.Double, nullable=False),
    sa.Column("session_id", sa.String(200)),
    sa.Column("request_id", sa.String(200)),
    sa.Column("surface", sa.String(200)),
    sa.Column("position", sa.Integer),
    sa.Column("country", sa.String(2)),
    # Of a row that has moved to the end of the log: the number that it had first, and its type where it was retracted.
    sa.Column("first_seq", sa.BigInteger),
    sa.Column("was", sa.String(20)),
    sa.Column("video_number", sa.BigInteger, nullable=False, server_default="-1"),
    sa.Index(None, "user_id", "seq"),
    # All that a list needs of a history.
    sa.Index("ix_events_history", "user_id", "occurred_at", "seq", "video_number", "type", "value"),
    sa.Index("ix_events_retracted", "user_id", sqlite_where=_RETRACTED, postgresql_where=_RETRACTED),
)

#: Places of the log from which a row has gone (moved or erased), so that who has folded the log unfolds it there alone.
removed_events = sa.Table(
    "removed_events",
    metadata,
    sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
    # A hash: of a viewer who was erased no name is kept.
    sa.Column("viewer", sa.String(32), nullable=False),
    # The number that the log had come to then.
    sa.Column("removed_as", sa.BigInteger, nullable=False),
)

#: Receipts of viewers who were erased.
erasures = sa.Table(
    "erasures",
    metadata,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("viewer", sa.String(32), nullable=False),
    sa.Column("erased_at", sa.Double, nullable=False),
    sa.Column("events", sa.Integer, nullable=False),
    sa.Column("exposures", sa.Integer, nullable=False),
    sa.Index(None, "viewer"),
)

#: Counters that tell readers cheaply whether anything changed.
counters = sa.Table(
    "counters",
    metadata,
    sa.Column("name", sa.String(50), primary_key=True),
    sa.Column("value", sa.BigInteger, nullable=False),
)

api_keys = sa.Table(
    "api_keys",
    metadata,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("name", sa.String(200), nullable=False),
    sa.Column("role", sa.String(20), nullable=False),
    sa.Column("secret_hash", sa.String(64), nullable=False, unique=True),
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Column("revoked_at", sa.Double),
)

#: What the numbers in exposures stand for; every row of them names the words that it was written with.
exposure_words = sa.Table(
    "exposure_words",
    metadata,
    sa.Column("id", sa.String(16), primary_key=True),
    sa.Column("words", sa.Text, nullable=False),
)

exposures = sa.Table(
    "exposures",
    metadata,
    sa.Column("seq", _Serial, primary_key=True),
    # Given by clients, who may give one twice.
    sa.Column("request_id", sa.String(200), nullable=False),
    sa.Column("user_id", sa.String(200), nullable=False),
    sa.Column("shown_at", sa.Double, nullable=False),
    sa.Column("surface", sa.String(200)),
    sa.Column("country", sa.String(2)),
    sa.Column("release", sa.String(200), nullable=False),
    sa.Column("settings", sa.String(16), nullable=False),
    sa.Column("cache", sa.String(10), nullable=False),
    sa.Column("first_rank", sa.Integer, nullable=False),
    sa.Column("words", sa.String(16), sa.ForeignKey("exposure_words.id"), nullable=False),
    sa.Column("items", sa.LargeBinary, nullable=False),
    sa.Column("features", sa.LargeBinary),
    sa.Index(None, "shown_at"),
    sa.Index(None, "user_id", "shown_at"),
)

#: What was answered to requests that named a key to be done once by.
idempotency = sa.Table(
    "idempotency",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("asked", sa.String(64), nullable=False),
    sa.Column("begun_at", sa.Double, nullable=False),
    # NULL while the first such request is being worked on.
    sa.Column("answer", sa.Text),
    sa.Index(None, "begun_at"),
)

rules = sa.Table(
    "rules",
    metadata,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("kind", sa.String(10), nullable=False),
    # Exactly one of the four is set.
    sa.Column("video", sa.String(200)),
    sa.Column("label", sa.String(100)),
    sa.Column("creator", sa.String(200)),
    sa.Column("series", sa.String(200)),
    sa.Column("factor", sa.Double),
    sa.Column("position", sa.Integer),
    sa.Column("surface", sa.String(200)),
    sa.Column("country", sa.String(2)),
    sa.Column("valid_from", sa.Double),
    sa.Column("valid_until", sa.Double),
    sa.Column("note", sa.Text, nullable=False),
    sa.Column("created_at", sa.Double, nullable=False),
)

#: How words of the catalogue are spelled: without one of their letters each, see `data.store.search`.
search_spellings = sa.Table(
    "search_spellings",
    metadata,
    sa.Column("variant", sa.String(8), primary_key=True),
    sa.Column("word", sa.String(40), primary_key=True),
    sqlite_with_rowid=False,
)
