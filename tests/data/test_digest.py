"""What was read of the event log, kept: only what came since is read, and the result is that of reading everything."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data import digest
from data.digest import about_as_large
from data.interactions import Interactions, load_interactions
from data.schema import Event, EventType, Video
from data.store import Store
from data.store.tables import events as events_table

ARRAYS = ("viewers", "videos", "viewer", "video", "signal", "time", "first", "country")
events = st.lists(
    st.builds(
        dict,
        user_id=st.sampled_from("uvw"),
        video_id=st.sampled_from("abc"),
        type=st.sampled_from(list(EventType)),
        value=st.floats(0, 1, width=16),
        occurred_at=st.integers(1, 5).map(float),
        country=st.sampled_from(["DE", "AT", None]),
    ),
    max_size=12,
)


@pytest.fixture
def log(store: Store) -> Store:
    store.catalogue.upsert(Video(id=name) for name in "abc")
    return store


def add(store: Store, rows: list[dict]) -> None:
    ahead = store.events.last_seq()
    store.events.add([Event(event_id=f"{ahead + place}", **row) for place, row in enumerate(rows)])


def like(viewer: str, video: str, at: float = 1.0) -> dict:
    return {"user_id": viewer, "video_id": video, "type": EventType.LIKE, "occurred_at": at}


def assert_same(one: Interactions, other: Interactions) -> None:
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), name)
    assert one.countries == other.countries


def read_from(store: Store, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Behind which event numbers the log is read from now on."""
    began: list[int] = []
    frames = store.events.frames

    def watched(until_seq: int | None = None, after: int = 0) -> Iterator[pd.DataFrame]:
        began.append(after)
        return frames(until_seq, after)

    monkeypatch.setattr(store.events, "frames", watched)
    return began


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None)
@given(st.lists(events, min_size=1, max_size=4))
def test_what_is_read_in_parts_is_what_is_read_at_once(log: Store, tmp_path: Path, parts: list[list[dict]]) -> None:
    with log.engine.begin() as connection:
        connection.execute(sa.delete(events_table))
    kept = tmp_path / "digest.npz"
    for part in parts:
        add(log, part)
        assert_same(load_interactions(log, kept=kept), load_interactions(log))


def test_only_what_came_since_is_read(log: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = tmp_path / "digest.npz"
    add(log, [like("u", "a"), like("v", "a")])
    load_interactions(log, kept=kept)
    before = log.events.last_seq()
    add(log, [like("u", "b")])
    began = read_from(log, monkeypatch)
    assert len(load_interactions(log, kept=kept)) == 3
    assert began == [before]
    assert len(load_interactions(log, kept=kept)) == 3
    assert began == [before], "where nothing came nothing is read"


def test_little_is_read_again_rather_than_written(log: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = tmp_path / "digest.npz"
    add(log, [like(f"u{number}", "a") for number in range(150)])
    load_interactions(log, kept=kept)
    before, stored = log.events.last_seq(), kept.read_bytes()
    add(log, [like("u0", "b")])
    began = read_from(log, monkeypatch)
    assert len(load_interactions(log, kept=kept)) == len(load_interactions(log, kept=kept)) == 151
    assert began == [before, before] and kept.read_bytes() == stored


def test_a_moment_before_what_is_kept_is_read_anew(log: Store, tmp_path: Path) -> None:
    kept = tmp_path / "digest.npz"
    add(log, [like("u", "a")])
    frozen = log.events.last_seq()
    add(log, [like("u", "b")])
    load_interactions(log, kept=kept)
    assert list(load_interactions(log, frozen, kept).videos) == ["a"]


def test_what_was_deleted_from_the_log_is_forgotten(log: Store, tmp_path: Path) -> None:
    kept = tmp_path / "digest.npz"
    add(log, [like("u", "a"), like("v", "b"), like("u", "c")])
    load_interactions(log, kept=kept)
    with log.engine.begin() as connection:
        connection.execute(sa.delete(events_table).where(events_table.c.user_id == "v"))
    add(log, [like("w", "a")])
    assert list(load_interactions(log, kept=kept).viewers) == ["u", "w"]
    assert b'"v"' not in kept.read_bytes()


def test_what_cannot_be_kept_is_read_all_the_same(log: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    kept = tmp_path / "no folder" / "digest.npz"
    kept.parent.write_text("a file is in the way")
    add(log, [like("u", "a")])
    assert len(load_interactions(log, kept=kept)) == 1
    assert "is not kept" in caplog.text


def test_nothing_is_left_of_a_run_that_was_killed_or_of_an_emptied_log(log: Store, tmp_path: Path) -> None:
    kept, left = tmp_path / "digest.npz", tmp_path / ".digest.npz.0123abcd.tmp"
    add(log, [like("u", "a")])
    load_interactions(log, kept=kept)
    left.write_bytes(b"viewers")
    with log.engine.begin() as connection:
        connection.execute(sa.delete(events_table))
    assert len(load_interactions(log, kept=kept)) == 0
    assert list(tmp_path.glob("*digest*")) == list(tmp_path.glob(".*digest*")) == []


def test_rows_of_another_signal_table_are_read_anew(
    log: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "digest.npz"
    add(log, [like("u", "a")])
    with monkeypatch.context() as earlier:
        earlier.setattr(digest, "_GRADED_BY", "another table")
        load_interactions(log, kept=kept)
    began = read_from(log, monkeypatch)
    load_interactions(log, kept=kept)
    assert began == [0]


def test_the_size_of_the_log_is_known_from_what_is_kept(log: Store, tmp_path: Path) -> None:
    kept = tmp_path / "digest.npz"
    assert about_as_large(log, kept) == (0, 0)
    add(log, [like("u", "a"), like("v", "a")])
    load_interactions(log, kept=kept)
    add(log, [like("u", "b")])
    assert about_as_large(log, kept) == (3, 2)
    with log.engine.begin() as connection:
        connection.execute(sa.delete(events_table))
    assert about_as_large(log, kept) == (0, 0)


def test_another_log_with_as_many_events_is_read_anew(log: Store, tmp_path: Path) -> None:
    kept = tmp_path / "digest.npz"
    add(log, [like("u", "a")])
    load_interactions(log, kept=kept)
    with log.engine.begin() as connection:
        connection.execute(sa.update(events_table).values(event_id="another", user_id="restored"))
    assert list(load_interactions(log, kept=kept).viewers) == ["restored"]


@pytest.mark.parametrize("damage", ["truncated", "altered", "empty", "no archive", "encrypted"])
def test_a_damaged_file_costs_time_and_nothing_else(
    log: Store, tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    kept = tmp_path / "digest.npz"
    add(log, [like("viewer-with-a-long-name", "a"), like("v", "b", 2.0)])
    whole = load_interactions(log, kept=kept)
    stored = kept.read_bytes()
    directory = stored[stored.index(b"PK\x01\x02") :][:46]
    damaged = {
        "truncated": stored[: len(stored) // 2],
        "altered": stored.replace(b"viewer-with-a-long-name", b"viewer-with-b-long-name"),
        "empty": b"",
        "no archive": b"not an archive at all",
        # The flags of the first entry in the archive's directory.
        "encrypted": stored.replace(directory, directory[:8] + b"\x01" + directory[9:], 1),
    }
    kept.write_bytes(damaged[damage])
    assert_same(load_interactions(log, kept=kept), whole)
    assert str(kept) in caplog.text
    assert kept.read_bytes() == stored, "it is whole again"
