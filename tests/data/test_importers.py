"""Files come in: good rows get in, every bad one is counted and kept aside, and twice is the same as once."""

import csv
import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from data.importers import ImportProblem, ImportReport, import_events, import_folder, import_movielens
from data.importers.events import Chunk, validate
from data.schema import Event, EventType, MediaFacts, Video, VideoState
from data.store import Store

ROWS = [
    {"user_id": "u1", "video_id": "v1", "type": "watch", "value": "0.5", "occurred_at": "2026-01-31T20:15:00Z"},
    {"user_id": "u2", "video_id": "v2", "type": "like", "value": "", "occurred_at": "1769890500"},
]


@pytest.fixture
def known(store: Store) -> Store:
    """A store that knows the videos v1 and v2."""
    store.catalogue.upsert([Video(id="v1"), Video(id="v2")])
    return store


def write_csv(path: Path, rows: list[dict[str, Any]], delimiter: str = ",") -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def write_parquet(path: Path, rows: list[dict[str, Any]]) -> Path:
    pd.DataFrame(rows).to_parquet(path)
    return path


def write_gz(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_bytes(gzip.compress(write_csv(path.with_suffix(""), rows).read_bytes()))
    return path


WRITERS: dict[str, Callable[[Path, list[dict[str, Any]]], Path]] = {
    "events.csv": write_csv,
    "events.tsv": lambda path, rows: write_csv(path, rows, "\t"),
    "events.jsonl": write_jsonl,
    "events.parquet": write_parquet,
    "events.csv.gz": write_gz,
}


def aside(report: ImportReport) -> list[tuple[int, str]]:
    """(row number, reason) of the rows that were kept aside."""
    lines = [orjson.loads(line) for line in report.rejected_path.read_bytes().splitlines()]
    assert all(set(line) == {"row", "reason", "detail", "content"} and line["detail"] for line in lines)
    return [(line["row"], line["reason"]) for line in lines]


def stored(store: Store) -> list[tuple]:
    rows = store.events.tail(100)
    return sorted((row["user_id"], row["video_id"], row["type"], row["value"], row["occurred_at"]) for row in rows)


# ---- Tables of events ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_gives_the_same_events_and_twice_is_once(known: Store, tmp_path: Path, name: str) -> None:
    path = WRITERS[name](tmp_path / name, ROWS)
    report = import_events(known, path, tmp_path / "reports")
    assert (report.read, report.kept, report.duplicates, report.rejected.total()) == (2, 2, 0, 0)
    assert stored(known) == [("u1", "v1", "watch", 0.5, 1769890500.0), ("u2", "v2", "like", None, 1769890500.0)]
    again = import_events(known, path, tmp_path / "reports")
    assert (again.read, again.kept, again.duplicates) == (2, 0, 2)
    assert orjson.loads(again.path.read_bytes())["duplicates"] == 2


def test_columns_are_mapped_and_constants_set(known: Store, tmp_path: Path) -> None:
    rows = [{"userId": "u1", "clip": "v1", "when": "5", "extra": "ignored"}]
    path = write_csv(tmp_path / "watches.csv", rows)
    columns = {"user_id": "userId", "video_id": "clip", "occurred_at": "when"}
    report = import_events(known, path, tmp_path, columns, {"type": "watch", "value": "0.9"})
    assert report.kept == 1 and stored(known) == [("u1", "v1", "watch", 0.9, 5.0)]


def test_numbers_and_times_of_parquet_are_taken_as_they_are(known: Store, tmp_path: Path) -> None:
    known.catalogue.upsert([Video(id="7")])
    times = pd.to_datetime(["2026-01-31T20:15:00", "2026-01-31T20:15:01"])
    frame = pd.DataFrame({"user_id": [1, 2], "video_id": [7, 7], "type": "play", "occurred_at": times})
    frame.assign(position=[3, None]).to_parquet(tmp_path / "events.parquet")
    assert import_events(known, tmp_path / "events.parquet", tmp_path).kept == 2
    assert stored(known)[0] == ("1", "7", "play", None, 1769890500.0)
    assert known.events.tail(1, "1")[0]["position"] == 3


BAD = {
    "user_id": ["", " ", "x" * 201, "bell \x07"],
    "video_id": [""],
    "type": ["", "Watch", "watched"],
    "value": ["1.5", "-0.1", "nan", "half", ""],
    "occurred_at": ["", "yesterday", "now", "1769890500000", "-1", "2026-13-01"],
    "country": ["DEU", "D", "ß", "12"],
    "position": ["1.5", "-1", "10001"],
    "duration_s": ["-1", "inf"],
    "event_id": ["x" * 201],
}


def test_every_bad_row_is_kept_aside_with_its_number_and_the_good_ones_get_in(known: Store, tmp_path: Path) -> None:
    good = ROWS[0] | dict.fromkeys(("country", "position", "duration_s", "event_id"), "")
    rows, expected = [good], []
    for name, values in BAD.items():
        for value in values:
            rows.append(good | {name: value})
            expected.append((len(rows), name))
    rows += [good | {"video_id": "nobody"}, good | {"user_id": "last"}]
    expected.append((len(rows) - 1, "unknown_video"))
    report = import_events(known, write_csv(tmp_path / "events.csv", rows), tmp_path / "reports")
    assert aside(report) == expected
    assert (report.read, report.kept, report.duplicates) == (len(rows), 2, 0)
    assert report.rejected["value"] == 5 and "5 value" in report.summary()
    assert {row[0] for row in stored(known)} == {"u1", "last"}


def test_lines_that_are_no_rows_are_kept_aside_too(known: Store, tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    path.write_text("user_id,video_id,type,occurred_at\nu1,v1\nu1,v1,play,5\n\nu1,v1,play,5,6\nu2,v1,play,5\n")
    report = import_events(known, path, tmp_path)
    assert aside(report) == [(1, "columns"), (3, "columns")] and (report.read, report.kept) == (4, 2)
    good = {"user_id": "u3", "video_id": "v1", "type": "play", "occurred_at": 5}
    odd = [{"user_id": ["u"]}, {"type": {"a": 1}}, {"occurred_at": True}, {"occurred_at": [5]}, {"value": {}}]
    path = write_jsonl(tmp_path / "events.jsonl", [good, *(good | one for one in odd)])
    path.write_text(path.read_text() + '[1, 2]\n{"broken\n\n')
    report = import_events(known, path, tmp_path)
    names = ["user_id", "type", "occurred_at", "occurred_at", "value", "unreadable", "unreadable"]
    assert sorted(aside(report)) == list(enumerate(names, start=2))
    assert (report.read, report.kept) == (8, 1)


def test_a_list_in_a_parquet_column_is_a_bad_row(known: Store, tmp_path: Path) -> None:
    rows = [{"user_id": ["a", "b"], "video_id": "v1", "type": "play", "occurred_at": 5.0}]
    assert aside(import_events(known, write_parquet(tmp_path / "e.parquet", rows), tmp_path)) == [(1, "user_id")]


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("events.csv", b"", "empty"),
        ("events.csv", b"user_id,video_id,type\nu,v,play\n", "occurred_at.*--map"),
        ("events.csv", b"user_id,user_id,video_id,type,occurred_at\nu,u,v1,play,5\n", "two columns"),
        ("events.txt", b"u,v\n", "what format"),
        ("events.parquet", b"no parquet", "not a Parquet file"),
        ("events.csv.gz", b"no gzip", "cannot be read"),
        ("events.csv.gz", gzip.compress(b"user_id,video_id,type,occurred_at\n" * 99, mtime=0)[:-9], "cannot be read"),
    ],
)
def test_a_file_that_cannot_be_used_says_why(
    known: Store, tmp_path: Path, name: str, content: bytes, what: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ImportProblem, match=what):
        import_events(known, tmp_path / name, tmp_path)
    assert known.events.count() == 0


def test_a_mapping_of_what_does_not_exist_says_so(known: Store, tmp_path: Path) -> None:
    path = write_csv(tmp_path / "events.csv", ROWS)
    with pytest.raises(ImportProblem, match="no such event field: user"):
        import_events(known, path, tmp_path, {"user": "userId"})
    with pytest.raises(ImportProblem, match="no column userId"):
        import_events(known, path, tmp_path, {"user_id": "userId"})
    with pytest.raises(ImportProblem, match="no such file"):
        import_events(known, tmp_path / "nothing.csv", tmp_path)


nasty_texts = st.sampled_from(
    ["", " ", "v1", " v1 ", "v1\n", "v1\x1f", "\x85v1", "é" * 200, "é" * 201, "\u200b", "1_0", "١", "+1", "1e2", "0x1",
     "1.", ".5", "5.0", " 0.5 ", "nan", "inf", "-0", "1e400", "true", "now", "today", "2026-01", "20260131T2015",
     "2026-01-31T24:00", "2026-01-31T20:15:00,5+05", "2026-W05-1", "0001-01-01T00:00+14:00",
     "DE", "de ", "ß", "ﬁ", "D\x1f"]
)  # fmt: skip
nasty_values = st.one_of(
    nasty_texts, st.text(max_size=5), st.none(), st.booleans(), st.floats(), st.integers(-2, 20_000), st.just([]),
    st.sampled_from([name.value for name in EventType]), st.floats(0, 1).map(str), st.datetimes(), st.dates(),
    st.just(4e9), st.just(b"1"), st.just({"a": 1}),
)  # fmt: skip
plain = {
    "event_id": st.just("e1"), "user_id": st.just("u1"), "video_id": st.just("v1"), "value": st.just(0.5),
    "type": st.sampled_from(["play", "watch", "rate", "like"]), "occurred_at": st.just(5.0), "duration_s": st.none(),
    "session_id": st.none(), "request_id": st.none(), "surface": st.none(), "position": st.none(), "country": st.none(),
}  # fmt: skip
one_or_two_nasty = st.lists(st.sampled_from(list(plain)), min_size=1, max_size=2, unique=True).flatmap(
    lambda names: st.fixed_dictionaries(plain | dict.fromkeys(names, nasty_values))
)


@settings(max_examples=400, deadline=None)
@given(st.lists(one_or_two_nasty, min_size=1, max_size=4))
def test_a_row_is_accepted_exactly_when_the_schema_accepts_it(rows: list[dict[str, Any]]) -> None:
    """Two things are the files' own: an empty field is a missing one, and whole numbers may be identifiers."""
    ids = ("event_id", "user_id", "video_id", "session_id", "request_id", "surface")
    expected: dict[int, dict[str, Any]] = {}
    for number, row in enumerate(rows, start=1):
        fields = {name: value for name, value in row.items() if not (value in ("", None) or value != value)}
        for name in ids:
            value = fields.get(name)
            if isinstance(value, int | float) and not isinstance(value, bool) and value == value // 1:
                fields[name] = str(int(value))
        try:
            expected[number] = Event.model_validate({"event_id": "made"} | fields).model_dump(mode="json")
        except ValidationError:
            continue
    everything = {fields["video_id"] for fields in expected.values()}
    frame = pd.DataFrame(rows, dtype=object)
    accepted, rejected = validate(Chunk(frame, np.arange(1, len(rows) + 1)), everything | {"v1"})
    assert [number for number, *_ in rejected] == [
        number for number in range(1, len(rows) + 1) if number not in expected
    ]
    for got, fields in zip(accepted, expected.values(), strict=True):
        assert got["event_id"].startswith("made") if fields["event_id"] == "made" else True
        del got["received_at"]
        assert got | {"event_id": ""} == fields | {"event_id": ""}


# ---- MovieLens -----------------------------------------------------------------------------------------------

MOVIES = [
    ("1", "Amélie\x85 (2001)", "Comedy|Romance"),
    ("2", "Metropolis (1927)", "(no genres listed)"),
    ("3", "NA", "Drama"),
]
RATINGS = [("7", "1", "5", "978300760"), ("7", "2", "1", "978300761"), ("8", "1", "3", "978300762")]


def old_layout(folder: Path) -> None:
    movies = "".join("::".join(row) + "\n" for row in MOVIES)
    (folder / "movies.dat").write_bytes(movies.encode("latin-1"))
    (folder / "ratings.dat").write_text("".join("::".join(row) + "\r\n" for row in RATINGS))


def old_layout_with_a_table(folder: Path) -> None:
    old_layout(folder)
    (folder / "ratings.dat").unlink()
    columns = ("userId", "movieId", "rating", "t")
    write_gz(folder / "ratings.csv.gz", [dict(zip(columns, row, strict=True)) for row in RATINGS])
    (folder / "ratings.csv").unlink()


def new_layout(folder: Path) -> None:
    columns = ("movieId", "title", "genres")
    write_csv(folder / "movies.csv", [dict(zip(columns, row, strict=True)) for row in MOVIES])
    columns = ("userId", "movieId", "rating", "timestamp")
    write_csv(folder / "ratings.csv", [dict(zip(columns, row, strict=True)) for row in RATINGS])


@pytest.mark.parametrize("layout", [old_layout, old_layout_with_a_table, new_layout])
def test_movielens_comes_in_in_every_layout(store: Store, tmp_path: Path, layout: Callable[[Path], None]) -> None:
    layout(tmp_path)
    report = import_movielens(store, tmp_path, tmp_path / "reports")
    assert (report.read, report.kept, report.rejected.total()) == (3, 3, 0)
    first, second, third = store.catalogue.all()
    assert (first.title, first.labels, first.published_at) == (MOVIES[0][1], ["Comedy", "Romance"], 978307200.0)
    assert (second.title, second.labels, second.published_at) == ("Metropolis (1927)", [], None)
    assert third.title == "NA" and third.state == VideoState.NO_MEDIA
    assert stored(store) == [
        ("7", "1", "rate", 1.0, 978300760.0), ("7", "2", "rate", 0.2, 978300761.0), ("8", "1", "rate", 0.6, 978300762.0)
    ]  # fmt: skip
    assert import_movielens(store, tmp_path, tmp_path / "reports").duplicates == 3


def test_a_rating_of_an_unknown_movie_is_kept_aside(store: Store, tmp_path: Path) -> None:
    new_layout(tmp_path)
    with (tmp_path / "ratings.csv").open("a") as file:
        file.write("9,99,4.0,5\n9,1,5.5,5\n")
    report = import_movielens(store, tmp_path, tmp_path / "reports")
    assert aside(report) == [(4, "unknown_video"), (5, "value")] and report.kept == 3


def test_a_folder_without_movielens_says_what_is_missing(store: Store, tmp_path: Path) -> None:
    with pytest.raises(ImportProblem, match=r"movies\.csv \+ ratings\.csv"):
        import_movielens(store, tmp_path, tmp_path)


def test_the_real_movielens(store: Store, tmp_path: Path, shared_data: Path) -> None:
    folder = shared_data / "ml-latest-small"
    report = import_movielens(store, folder, tmp_path)
    ratings = pd.read_csv(folder / "ratings.csv")
    assert (report.kept, report.rejected.total()) == (len(ratings), 0)
    assert len(store.catalogue.ids()) == len(pd.read_csv(folder / "movies.csv"))
    total = sum(frame["value"].sum() for frame in store.events.frames())
    assert total == pytest.approx(ratings["rating"].sum() / 5)


# ---- Folders of videos ---------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "clips"
    (folder / "space").mkdir(parents=True)
    (folder / "space" / "big_bang-1.mp4").write_bytes(b"one")
    (folder / "goal.MKV").write_bytes(b"two")
    (folder / "notes.txt").write_text("no video")
    (folder / ".hidden.mp4").write_bytes(b"no video")
    return folder


def test_a_folder_becomes_pending_videos(store: Store, folder: Path, tmp_path: Path) -> None:
    report = import_folder(store, folder, tmp_path)
    assert (report.read, report.kept, report.rejected.total()) == (2, 2, 0)
    one = store.catalogue.get("space~big_bang-1.mp4")
    assert (one.title, one.state, Path(one.media_path).read_bytes()) == ("big bang 1", VideoState.PENDING, b"one")
    assert set(store.catalogue.ids()) == {"goal.MKV", "space~big_bang-1.mp4"}


def test_the_same_folder_again_changes_nothing(store: Store, folder: Path, tmp_path: Path) -> None:
    import_folder(store, folder, tmp_path)
    store.catalogue.mark_ready("goal.MKV", "encoder", MediaFacts(duration_s=3.0))
    store.catalogue.set_hidden("goal.MKV", True)
    store.catalogue.upsert([Video(id="space~big_bang-1.mp4", title="edited", media_path="/elsewhere/moved.mp4")])
    before, version = store.catalogue.get("goal.MKV"), store.catalogue.version()
    report = import_folder(store, folder, tmp_path)
    assert (report.read, report.kept, report.duplicates) == (2, 1, 1)
    assert store.catalogue.get("goal.MKV") == before, "a takedown stays"
    moved = store.catalogue.get("space~big_bang-1.mp4")
    assert moved.title == "edited" and Path(moved.media_path).read_bytes() == b"one"
    assert import_folder(store, folder, tmp_path).duplicates == 2
    assert store.catalogue.version() == version + 1


def test_changed_bytes_are_encoded_again(store: Store, folder: Path, tmp_path: Path) -> None:
    import_folder(store, folder, tmp_path)
    for name in store.catalogue.ids():
        store.catalogue.mark_ready(name, "encoder", MediaFacts(duration_s=3.0))
    (folder / "goal.MKV").write_bytes(b"another")
    import_folder(store, folder, tmp_path)
    states = {record.id: record.state for record in store.catalogue.all()}
    assert states == {"goal.MKV": VideoState.PENDING, "space~big_bang-1.mp4": VideoState.READY}


def test_a_labels_file_describes_the_videos(store: Store, folder: Path, tmp_path: Path) -> None:
    labels = folder / "space" / "labels.csv"
    labels.write_text(
        "path,label,tags,regions,title,rating,available_from,unused\n"
        "big_bang-1.mp4,space; physics ,a;b,de;AT,The Big Bang,12,2026-01-31T00:00:00Z,x\n"
        "./goal.MKV,sports\n"
        "missing.mp4,sports,,,,,,x,one field too many\n"
    )
    report = import_folder(store, folder, tmp_path / "reports", labels)
    one = store.catalogue.get("space~big_bang-1.mp4")
    assert (one.labels, one.tags, one.regions) == (["space", "physics"], ["a", "b"], ["DE", "AT"])
    assert (one.title, one.rating, one.available_from) == ("The Big Bang", 12, 1769817600.0)
    assert store.catalogue.get("goal.MKV").labels == ["sports"]
    assert aside(report) == [(0, "no_such_file")] and (report.read, report.kept) == (3, 2)
    labels.write_text("path,label\ngoal.MKV,football\n")
    assert import_folder(store, folder, tmp_path / "reports", labels).kept == 1
    assert store.catalogue.get("goal.MKV").labels == ["football"]
    assert store.catalogue.get("space~big_bang-1.mp4").labels == ["space", "physics"]


def test_what_cannot_become_a_video_is_kept_aside(store: Store, folder: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside.mp4"
    outside.write_bytes(b"secret")
    (folder / "a-link.mp4").symlink_to(outside)
    (folder / "b-broken-link.mp4").symlink_to(folder / "nothing.mp4")
    (folder / "c-good-link.mp4").symlink_to(folder / "goal.MKV")
    (folder / "d-odd\udcff.mp4").write_bytes(b"a name in no encoding")
    (folder / "e-rating.mp4").write_bytes(b"old")
    os.mkfifo(folder / "f-pipe.mp4")
    (folder / "g-circle.mp4").symlink_to(folder / "g-circle.mp4")
    labels = tmp_path / "labels.csv"
    labels.write_text("path,rating\ne-rating.mp4,99\n")
    report = import_folder(store, folder, tmp_path, labels)
    assert aside(report) == [
        (1, "link_out_of_folder"), (2, "unreadable"), (4, "name"), (5, "rating"), (6, "not_a_file"), (7, "unreadable"),
    ]  # fmt: skip
    assert set(store.catalogue.ids()) == {"c-good-link.mp4", "goal.MKV", "space~big_bang-1.mp4"}


def test_a_folder_that_cannot_be_used_says_why(store: Store, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ImportProblem, match="no such folder"):
        import_folder(store, tmp_path / "nothing", tmp_path)
    with pytest.raises(ImportProblem, match="cannot be read"):
        import_folder(store, folder, tmp_path, tmp_path / "nothing.csv")
    (tmp_path / "labels.csv").write_text("file,label\na.mp4,x\n")
    with pytest.raises(ImportProblem, match="needs a column 'path'"):
        import_folder(store, folder, tmp_path, tmp_path / "labels.csv")


def test_an_id_is_never_taken_over_by_another_file(store: Store, folder: Path, tmp_path: Path) -> None:
    import_folder(store, folder, tmp_path / "reports")
    taken = next(store.catalogue.all())
    other = tmp_path / "other" / Path(taken.media_path or "").relative_to(folder)
    other.parent.mkdir(parents=True)
    other.write_bytes(b"another film")
    report = import_folder(store, tmp_path / "other", tmp_path / "reports")
    assert (report.kept, dict(report.rejected)) == (0, {"id_taken": 1})
    assert store.catalogue.get(taken.id) == taken
    (tmp_path / "twice" / "a").mkdir(parents=True)
    (tmp_path / "twice" / "a" / "b.mp4").write_bytes(b"one")
    (tmp_path / "twice" / "a~b.mp4").write_bytes(b"two")
    report = import_folder(store, tmp_path / "twice", tmp_path / "reports")
    assert (report.read, report.kept, dict(report.rejected)) == (2, 1, {"id_taken": 1})


def test_movielens_again_leaves_edits_and_takedowns_alone(store: Store, tmp_path: Path) -> None:
    (tmp_path / "ml").mkdir()
    new_layout(tmp_path / "ml")
    import_movielens(store, tmp_path / "ml", tmp_path / "reports")
    video = next(store.catalogue.all())
    store.catalogue.set_hidden(video.id, True)
    edited = video.model_copy(update={"title": "Edited", "media_path": "/films/1.mp4"})
    store.catalogue.upsert([Video.model_validate(edited.model_dump(include=set(Video.model_fields)))])
    import_movielens(store, tmp_path / "ml", tmp_path / "reports")
    after = store.catalogue.get(video.id)
    assert after is not None and (after.title, after.hidden, after.media_path) == ("Edited", True, "/films/1.mp4")
