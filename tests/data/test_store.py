"""The database keeps its promises on SQLite and on PostgreSQL: the same tests run on both."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa

from data.schema import Event, MediaFacts, Video, VideoDescription, VideoState
from data.store import AskedOtherwiseError, InProgressError, Store, StoreError, idempotency
from data.store.catalogue import BATCH, MAX_ATTEMPTS, MAX_CLAIMS
from data.store.exposures import ITEM, Exposure, Words
from data.store.tables import events
from tests.conftest import free_port

HASH, OTHER_HASH = "a" * 64, "b" * 64
ENCODER = "encoder-1"


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    opened = Store.open(database_url)
    yield opened
    opened.close()


def with_media(video_id: str, content_hash: str = HASH, **fields: object) -> Video:
    return Video(id=video_id, media_path=f"/media/{video_id}.mp4", content_hash=content_hash, **fields)


def event(event_id: str, video_id: str = "v1", user_id: str = "u1", at: float = 1_000.0, **fields: object) -> Event:
    return Event(event_id=event_id, user_id=user_id, video_id=video_id, occurred_at=at, **{"type": "play"} | fields)


def claim(
    store: Store, owner: str = "worker", limit: int = 10, lease_s: float = 60, encoder: str = ENCODER
) -> list[str]:
    return [record.id for record in store.catalogue.claim(owner, limit, lease_s, encoder)]


def at_once(work: Callable[[int], object], threads: int) -> list:
    """Runs work(0), work(1), … in as many threads, all released at the same moment."""
    gate = threading.Barrier(threads)

    def run(number: int) -> object:
        gate.wait()
        return work(number)

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(run, range(threads)))


# ---- Owners --------------------------------------------------------------------------------------------------


def test_what_was_put_in_comes_out(store: Store) -> None:
    video = with_media(
        "v1", title="Ärger", description="d", tags=["t"], labels=["a", "b"], duration_s=1.5, published_at=1.0,
        available_from=2.0, available_until=3.0, regions=["DE"], rating=12, creator="c", series="s", episode=0,
        hidden=True,
    )  # fmt: skip
    store.catalogue.upsert([video, Video(id="bare")])
    record = store.catalogue.get("v1")
    assert {name: getattr(record, name) for name in Video.model_fields} == video.model_dump()
    assert record.state == VideoState.PENDING and record.created_at > 0
    assert store.catalogue.get("bare").state == VideoState.NO_MEDIA
    assert store.catalogue.get("nobody") is None
    assert store.catalogue.counts() == {"pending": 1, "no_media": 1}


def test_what_the_owner_changes_leaves_what_the_system_found(store: Store) -> None:
    store.catalogue.upsert([with_media("v1")])
    claim(store)
    store.catalogue.mark_ready("v1", ENCODER, MediaFacts(duration_s=12.5, thumbnail_path="thumb.jpg"))
    store.catalogue.set_predicted_labels({"v1": {"space": 0.9}})
    store.catalogue.upsert([with_media("v1", title="new title", labels=["sports"])])
    record = store.catalogue.get("v1")
    assert (record.title, record.labels) == ("new title", ["sports"])
    assert (record.state, record.encoder_id, record.thumbnail_path) == (VideoState.READY, ENCODER, "thumb.jpg")
    assert record.predicted_labels == {"space": 0.9}
    assert record.duration_s == 12.5, "a probed duration is better than none"


def test_changed_media_is_encoded_again(store: Store) -> None:
    store.catalogue.upsert([with_media("v1")])
    store.catalogue.mark_ready("v1", ENCODER, MediaFacts(thumbnail_path="thumb.jpg"))
    store.catalogue.set_predicted_labels({"v1": {"space": 0.9}})
    store.catalogue.upsert([with_media("v1", OTHER_HASH)])
    record = store.catalogue.get("v1")
    assert (record.state, record.encoder_id, record.thumbnail_path, record.predicted_labels) == (
        VideoState.PENDING, None, None, {},
    )  # fmt: skip
    assert claim(store) == ["v1"]


def test_the_same_bytes_at_another_path_are_not_encoded_again(store: Store) -> None:
    store.catalogue.upsert([with_media("v1")])
    store.catalogue.mark_ready("v1", ENCODER, MediaFacts())
    store.catalogue.upsert([Video(id="v1", media_path="/elsewhere.mp4", content_hash=HASH)])
    assert store.catalogue.get("v1").state == VideoState.READY
    assert store.catalogue.get("v1").media_path == "/elsewhere.mp4"


def test_without_a_hash_another_path_is_other_media(store: Store) -> None:
    store.catalogue.upsert([Video(id="v1", media_path="/one.mp4")])
    store.catalogue.mark_ready("v1", ENCODER, MediaFacts())
    store.catalogue.upsert([Video(id="v1", media_path="/two.mp4")])
    assert store.catalogue.get("v1").state == VideoState.PENDING


def test_a_removed_video_is_gone_until_it_is_added_again(store: Store) -> None:
    store.catalogue.upsert([with_media("v1"), with_media("v2")])
    store.catalogue.mark_ready("v1", ENCODER, MediaFacts())
    claim(store)
    store.events.add([event("e1")])
    assert store.catalogue.remove(["v1", "v2", "nobody"]) == 2
    assert store.catalogue.get("v1") is None and store.catalogue.page() == [] and claim(store) == []
    assert store.catalogue.ids() == ["v1", "v2"], "events may refer to removed videos"
    assert store.events.count() == 1
    store.catalogue.upsert([with_media("v1"), with_media("v2")])
    record = store.catalogue.get("v1")
    assert (record.state, record.hidden) == (VideoState.PENDING, False)
    assert claim(store) == ["v1", "v2"], "a lease from before the removal does not hold"


def test_a_takedown_and_its_end(store: Store) -> None:
    store.catalogue.upsert([Video(id="v1")])
    assert store.catalogue.set_hidden("v1", True) and store.catalogue.get("v1").hidden
    assert store.catalogue.set_hidden("v1", False) and not store.catalogue.get("v1").hidden
    assert not store.catalogue.set_hidden("nobody", True)


def test_an_upsert_is_all_or_nothing(store: Store) -> None:
    wrong = Video.model_construct(**Video(id="v2").model_dump() | {"title": None})
    with pytest.raises(sa.exc.IntegrityError):
        store.catalogue.upsert([Video(id="v1"), wrong])
    assert store.catalogue.get("v1") is None


def test_every_text_that_the_schema_accepts_can_be_stored(store: Store) -> None:
    nasty = "'); DROP TABLE videos;-- \N{PILE OF POO} \u2028 \t\n"
    store.catalogue.upsert([Video(id="v1", title=nasty, description=nasty, labels=[nasty], media_path=nasty)])
    assert store.catalogue.get("v1").description == nasty
    for name in ("title", "description", "media_path"):
        with pytest.raises(ValueError, match=name):
            Video.model_validate({"id": "v1", name: "nul \x00 byte"})


def test_describing_leaves_files_takedowns_and_what_was_found_out(store: Store) -> None:
    store.catalogue.upsert([with_media("v1", title="One"), with_media("v2")])
    store.catalogue.mark_ready("v1", ENCODER, MediaFacts(duration_s=60.0, quality="good"))
    store.catalogue.set_hidden("v1", True)
    store.catalogue.remove(["v2"])
    entries = [
        VideoDescription(id="v1", title="Other", tags=["t"]),
        VideoDescription(id="v1", title="Other", tags=["t"]),
        VideoDescription(id="v2", title="Back"),
        VideoDescription(id="v3"),
        VideoDescription(id="v3", rating=6),
    ]
    assert store.catalogue.describe(entries) == ["updated", "unchanged", "created", "created", "updated"]
    found = store.catalogue.get_many(["v1", "v2", "v3"])
    first = found["v1"]
    assert (first.title, first.tags, first.hidden, first.state) == ("Other", ["t"], True, VideoState.READY)
    assert (first.media_path, first.content_hash, first.duration_s) == ("/media/v1.mp4", HASH, 60.0)
    assert (found["v2"].title, found["v2"].state, found["v2"].media_path) == ("Back", VideoState.NO_MEDIA, None)
    assert not found["v2"].hidden and found["v3"].rating == 6
    assert store.catalogue.describe([VideoDescription(id=f"w{n}") for n in range(BATCH + 1)]) == ["created"] * (
        BATCH + 1
    )
    assert store.catalogue.describe([]) == []


def test_a_change_is_refused_once_another_was_quicker(store: Store) -> None:
    store.catalogue.upsert([Video(id="v1", title="One")])
    seen = store.catalogue.get("v1")
    assert seen is not None
    assert store.catalogue.change("v1", {"title": "Two"}, seen.version)
    assert not store.catalogue.change("v1", {"title": "Three"}, seen.version)
    assert not store.catalogue.change("nothing", {"title": "Three"}, seen.version)
    record = store.catalogue.get("v1")
    assert record is not None and record.title == "Two" and record.version > seen.version


def test_attached_media_ends_a_claim_on_the_old_file(store: Store) -> None:
    store.catalogue.upsert([with_media("v1", title="One")])
    store.catalogue.mark_ready("v1", ENCODER, MediaFacts(quality="good"))
    assert claim(store, "worker", encoder="another") == ["v1"]
    before = store.catalogue.attach_media("v1", "uploads/x.mp4", OTHER_HASH)
    assert before is not None and before.media_path == "/media/v1.mp4"
    assert not store.catalogue.mark_ready("v1", "another", MediaFacts(), owner="worker")
    record = store.catalogue.get("v1")
    assert record is not None and (record.title, record.media_path) == ("One", "uploads/x.mp4")
    assert (record.state, record.quality, record.encoder_id, record.attempts) == (VideoState.PENDING, None, None, 0)
    assert claim(store) == ["v1"]
    store.catalogue.remove(["v1"])
    assert store.catalogue.attach_media("v1", "uploads/y.mp4", HASH) is None


# ---- Readers -------------------------------------------------------------------------------------------------


def test_pages_cover_every_video_once_in_the_order_of_ids(store: Store) -> None:
    ids = [f"v{number:04d}" for number in range(BATCH + 3)]
    store.catalogue.upsert(Video(id=name) for name in reversed(ids))
    pages, after = [], ""
    while page := store.catalogue.page(after, limit=200):
        pages.append(len(page))
        after = page[-1].id
    assert pages == [200, 200, 103]
    assert [record.id for record in store.catalogue.all()] == ids
    assert set(store.catalogue.get_many(ids)) == set(ids)


def test_pages_by_state_and_by_label(store: Store) -> None:
    store.catalogue.upsert([with_media("a", labels=["space"]), Video(id="b"), Video(id="c"), Video(id="d")])
    store.catalogue.set_predicted_labels({"c": {"space": 0.8}, "d": {"sports": 0.9}})
    assert [record.id for record in store.catalogue.page(state=VideoState.NO_MEDIA)] == ["b", "c", "d"]
    assert [record.id for record in store.catalogue.page(label="space")] == ["a", "c"]
    assert [record.id for record in store.catalogue.page(label="space", limit=1, after="a")] == ["c"]


def test_changed_since_names_what_was_written_and_what_was_removed(store: Store) -> None:
    store.catalogue.upsert([Video(id="v1"), Video(id="v2"), Video(id="v3"), with_media("v4")])
    seen = store.catalogue.version()
    assert store.catalogue.changed_since(seen) == (seen, [], [])
    store.catalogue.set_hidden("v1", True)
    store.catalogue.set_predicted_labels({"v2": {"space": 1.0}})
    store.catalogue.remove(["v3"])
    store.catalogue.mark_ready("v4", ENCODER, MediaFacts())
    version, changed, removed = store.catalogue.changed_since(seen)
    assert version == store.catalogue.version() > seen
    assert {record.id for record in changed} == {"v1", "v2", "v4"} and removed == ["v3"]
    assert store.catalogue.changed_since(version) == (version, [], [])


def test_every_concurrent_write_gets_a_version_of_its_own(store: Store) -> None:
    """A reader that asks for what is newer than the last version it saw misses nothing."""
    start = store.catalogue.version()
    at_once(lambda number: [store.catalogue.upsert([Video(id=f"{number}-{step}")]) for step in range(5)], 4)
    version, changed, _ = store.catalogue.changed_since(start)
    assert version == start + 20 and len(changed) == 20


# ---- The encoder's queue -------------------------------------------------------------------------------------


def test_a_claim_holds_until_its_lease_ends(store: Store) -> None:
    store.catalogue.upsert([with_media("v1"), Video(id="without media")])
    assert claim(store, "first", lease_s=60) == ["v1"]
    assert store.catalogue.get("v1").attempts == 1 and store.catalogue.lease_owners() == ["first"]
    assert claim(store, "second") == []
    store.catalogue.renew("first", lease_s=-1)
    assert claim(store, "second", lease_s=60) == ["v1"], "the lease had run out"
    store.catalogue.renew("first", lease_s=-1)
    assert claim(store, "third") == [], "only the owner renews"


def test_released_claims_cost_no_attempt(store: Store) -> None:
    store.catalogue.upsert([with_media("v1"), with_media("v2")])
    claim(store, "first", limit=1)
    claim(store, "second", limit=1)
    assert store.catalogue.release("first") == 1
    assert store.catalogue.get("v1").attempts == 0
    assert claim(store, "third") == ["v1"], "what the second holds stays held"


def test_a_claim_ends_when_the_media_changes(store: Store) -> None:
    """What a worker finds out about the old file says nothing of the new one."""
    store.catalogue.upsert([with_media("v1"), with_media("v2")])
    claim(store, "worker")
    store.catalogue.upsert([with_media("v1", OTHER_HASH), with_media("v2", title="new title")])
    for name in ("v1", "v2"):
        store.catalogue.mark_ready(name, ENCODER, MediaFacts(), owner="worker")
    assert store.catalogue.get("v1").state == VideoState.PENDING
    assert store.catalogue.get("v2").state == VideoState.READY
    assert claim(store, "another") == ["v1"]
    store.catalogue.mark_failed("v1", "timeout", ENCODER, owner="worker")
    assert store.catalogue.get("v1").state == VideoState.PENDING


def test_claims_come_in_the_order_of_arrival(store: Store) -> None:
    for name in ("z", "m", "a"):
        store.catalogue.upsert([with_media(name)])
    assert claim(store, limit=2) == ["z", "m"]


def test_two_claimers_never_get_the_same_video(store: Store) -> None:
    store.catalogue.upsert(with_media(f"v{number}") for number in range(40))

    def drain(number: int) -> list[str]:
        mine: list[str] = []
        while found := claim(store, f"worker-{number}", limit=3):
            mine += found
        return mine

    claimed = [name for mine in at_once(drain, 4) for name in mine]
    assert sorted(claimed) == sorted(f"v{number}" for number in range(40))


def test_a_new_encoder_sees_every_video_again(store: Store) -> None:
    store.catalogue.upsert([with_media("v1"), with_media("v2")])
    claim(store, limit=1)
    store.catalogue.mark_ready("v1", ENCODER, MediaFacts())
    assert store.catalogue.count_to_encode(ENCODER) == 1
    assert store.catalogue.count_to_encode("encoder-2") == 2
    assert store.catalogue.encoded_twin(HASH, ENCODER).id == "v1"
    assert store.catalogue.encoded_twin(HASH, "encoder-2") is None
    assert claim(store, encoder="encoder-2") == ["v1", "v2"]


def test_a_transient_failure_is_tried_again_until_it_is_given_up(store: Store) -> None:
    store.catalogue.upsert([with_media("v1")])
    for attempt in range(1, MAX_ATTEMPTS + 1):
        assert store.catalogue.get("v1").state == VideoState.PENDING
        assert claim(store) == ["v1"], f"attempt {attempt}"
        store.catalogue.mark_failed("v1", "timeout", ENCODER, retry=True)
    record = store.catalogue.get("v1")
    assert (record.state, record.reason, record.attempts) == (VideoState.FAILED, "timeout", MAX_ATTEMPTS)
    assert claim(store) == []


def test_a_transient_failure_may_be_left_alone_for_a_while(store: Store) -> None:
    store.catalogue.upsert([with_media("v1"), with_media("v2")])
    pause_s = 0.05
    for attempt in (1, 2):
        assert "v1" in claim(store, limit=1)
        failed_at = time.time()
        store.catalogue.mark_failed("v1", "timeout", ENCODER, retry=True, pause_s=pause_s)
        assert store.catalogue.count_to_encode(ENCODER) == 2, "it still waits"
        while store.catalogue.count_to_encode(ENCODER, claimable=True) == 1:
            assert time.time() < failed_at + 10
            time.sleep(0.005)
        assert time.time() - failed_at >= pause_s * attempt**2
    claim(store, limit=1)
    store.catalogue.mark_failed("v1", "timeout", ENCODER, retry=True, pause_s=pause_s)
    record = store.catalogue.get("v1")
    assert record is not None and record.state == VideoState.FAILED
    assert claim(store, encoder="another") == ["v1", "v2"], "another encoder need not wait"


def test_a_lasting_failure_waits_for_a_person(store: Store) -> None:
    store.catalogue.upsert([with_media("v1"), with_media("v2"), with_media("v3")])
    claim(store)
    for name in ("v1", "v2"):
        store.catalogue.mark_failed(name, "no_video_stream", ENCODER)
    store.catalogue.mark_ready("v3", ENCODER, MediaFacts())
    assert claim(store) == []
    assert store.catalogue.retry(["v1", "v3"]) == 1, "only failed videos are tried again"
    assert store.catalogue.retry() == 1
    record = store.catalogue.get("v1")
    assert (record.state, record.reason, record.attempts) == (VideoState.PENDING, None, 0)
    assert claim(store) == ["v1", "v2"]


def test_a_video_that_another_encoder_makes_nothing_of_stays_ready(store: Store) -> None:
    store.catalogue.upsert([with_media("v1"), with_media("v2")])
    claim(store, limit=1)
    store.catalogue.mark_ready("v1", ENCODER, MediaFacts())
    assert claim(store, encoder="listener") == ["v1", "v2"]
    for name in ("v1", "v2"):
        store.catalogue.mark_failed(name, "no_sound", "listener", owner="worker")
    states = {name: (store.catalogue.get(name).state, store.catalogue.get(name).refused_by) for name in ("v1", "v2")}
    assert states == {"v1": (VideoState.READY, "listener"), "v2": (VideoState.FAILED, "listener")}
    assert store.catalogue.get("v1").encoder_id == ENCODER and store.catalogue.encoded_ids() == ["v1"]
    assert claim(store, encoder="listener") == [], "it has said its word"
    assert claim(store, encoder=ENCODER) == ["v2"], "what failed with one encoder may do with another"
    store.catalogue.mark_ready("v2", ENCODER, MediaFacts(), owner="worker")
    assert store.catalogue.get("v2").refused_by is None
    assert store.catalogue.retry() == 1 and claim(store, encoder="listener") == ["v1", "v2"]


def test_a_ready_video_survives_what_passes_and_those_who_die(store: Store) -> None:
    store.catalogue.upsert([with_media("v1")])
    claim(store)
    store.catalogue.mark_ready("v1", ENCODER, MediaFacts())
    for _ in range(MAX_ATTEMPTS):
        assert claim(store, encoder="other") == ["v1"]
        store.catalogue.mark_failed("v1", "timed_out", "other", retry=True, owner="worker")
        assert store.catalogue.get("v1").state == VideoState.READY
    assert claim(store, encoder="other") == [] and store.catalogue.get("v1").attempts == 0
    while claim(store, encoder="deadly", lease_s=-1):
        pass
    record = store.catalogue.get("v1")
    assert (record.state, record.refused_by) == (VideoState.READY, "deadly")
    assert record.reason is not None and record.reason.startswith("crashed")


# ---- Events --------------------------------------------------------------------------------------------------


def test_an_event_counts_once_and_an_unknown_video_is_refused_alone(store: Store) -> None:
    store.catalogue.upsert([Video(id="v1")])
    batch = [event("e1"), event("e2", "nobody"), event("e1", type="like"), event("e3", at=2_000.0, country="de")]
    assert store.events.add(batch) == ["accepted", "unknown_video", "duplicate", "accepted"]
    assert store.events.add(batch) == ["duplicate", "unknown_video", "duplicate", "duplicate"]
    assert store.events.add([]) == []
    assert store.events.count() == 2
    newest = store.events.tail(1)[0]
    assert (newest["event_id"], newest["type"], newest["country"]) == ("e3", "play", "DE")


def test_rows_that_are_already_there_are_passed_over(store: Store) -> None:
    store.catalogue.upsert([Video(id="v1")])
    store.events.add([event("e1")])
    rows = [event(name).model_dump(mode="json") | {"received_at": 0.0} for name in ("e1", "e2", "e2", "e3")]
    assert store.events.add_rows(rows) == 2
    assert store.events.add_rows(rows) == 0
    number = store.catalogue.get_many(["v1"])["v1"].number
    assert store.events.numbered_history("u1").numbers.tolist() == [number] * 3
    assert [frame["seq"].is_monotonic_increasing for frame in store.events.frames()] == [True]


def test_a_history_is_newest_first_and_later_added_first_among_ties(store: Store) -> None:
    store.catalogue.upsert(Video(id=f"v{number}") for number in range(1, 5))
    times = {"v1": 50.0, "v2": 70.0, "v3": 50.0, "v4": 60.0}
    store.events.add([event(f"e-{name}", name, at=at, type="watch", value=0.5) for name, at in times.items()])
    store.events.add([event("other", "v1", user_id="u2")])
    history = store.events.history("u1")
    assert list(history.video_ids) == ["v2", "v4", "v3", "v1"] and len(history) == 4
    assert list(history.times) == [70.0, 60.0, 50.0, 50.0] and set(history.values) == {0.5}
    assert list(store.events.history("u1", limit=2).video_ids) == ["v2", "v4"]
    assert len(store.events.history("nobody")) == 0
    numbers = {video: record.number for video, record in store.catalogue.get_many(list(times)).items()}
    numbered = store.events.numbered_history("u1")
    assert numbered.numbers.tolist() == [numbers[video] for video in history.video_ids]
    assert numbered.times.tolist() == history.times.tolist() and set(numbered.values) == {0.5}
    assert store.events.viewers() == [("u1", 4), ("u2", 1)]


def test_those_who_did_something_lately_are_found_with_all_that_they_did(store: Store) -> None:
    store.catalogue.upsert([Video(id="v1"), Video(id="v2")])
    store.events.add([event("e1", user_id="ann"), event("e2", user_id="bob"), event("e3", user_id="eve")])
    until = store.events.last_seq()
    later = [event("e4", user_id="ann", video_id="v2", type="like"), event("e5", user_id="bob", type="impression")]
    store.events.add([*later, event("e6", user_id="dan"), event("e7", user_id="ann")])
    assert store.events.viewers_between(until, store.events.last_seq()) == ["ann", "dan"]
    assert store.events.viewers_between(until, until + 1) == ["ann"]
    frame = store.events.frame_of(["ann", "bob", "nobody"], until + 3)
    assert frame[["user_id", "video_id", "type"]].to_numpy().tolist() == [
        ["ann", "v1", "play"],
        ["bob", "v1", "play"],
        ["ann", "v2", "like"],
    ]
    assert set(frame.columns) == {*next(store.events.frames()).columns, "first_seq", "retracted"}
    assert store.events.frame_of([], 9).empty


def test_frames_end_where_a_refresh_was_frozen(store: Store) -> None:
    store.catalogue.upsert([Video(id="v1")])
    store.events.add([event("e1"), event("e2")])
    frozen = store.events.last_seq()
    store.events.add([event("e3")])
    assert [len(frame) for frame in store.events.frames(frozen)] == [2]
    assert [len(frame) for frame in store.events.frames()] == [3]
    assert [len(frame) for frame in store.events.frames(after=frozen)] == [1]
    assert (store.events.count(), store.events.count(until_seq=frozen), store.events.count(after=frozen)) == (3, 2, 1)
    assert [store.events.newest_until(seq)[:1] for seq in (0, frozen, frozen + 9)] == [(), ("e2",), ("e3",)]


def test_lists_are_made_from_what_the_records_say(store: Store) -> None:
    entry = with_media("v1", title="One", labels=["space"], tags=["far"], regions=["DE"], rating=12, creator="c")
    store.catalogue.upsert([entry, Video(id="v2", series="s", episode=3), Video(id="v0")])
    store.catalogue.mark_ready("v1", ENCODER, MediaFacts(duration_s=60.0))
    store.catalogue.remove(["v0"])
    (listings,) = store.catalogue.listings()
    records = store.catalogue.get_many(["v1", "v2"])
    assert [listing.id for listing in listings] == ["v1", "v2"]
    for listing in listings:
        record = records[listing.id]
        assert listing._asdict() == {name: getattr(record, name) for name in listing._fields}
        assert listing.shown_labels == record.shown_labels and type(listing.state) is VideoState


def test_the_state_of_an_answer_changes_with_what_the_answer_depends_on(store: Store) -> None:
    store.catalogue.upsert([Video(id="v1")])
    states = [store.state_for("u1")]
    store.events.add([event("e1")])
    states.append(store.state_for("u1"))
    store.catalogue.set_hidden("v1", True)
    states.append(store.state_for("u1"))
    assert len(set(states)) == 3
    store.events.add([event("e2", user_id="u2"), event("e1"), event("e3", type="impression")])
    state = store.state_for("u1")
    assert state[:2] == states[-1][:2], "being shown something changes no taste"
    assert state.saw > states[-1].saw


def test_concurrent_writers_all_succeed(store: Store, database_url: str) -> None:
    """Several processes write to one SQLite file: none may fail with "database is locked"."""
    store.catalogue.upsert([Video(id="v1")])

    def write(number: int) -> list[str]:
        mine = Store.open(database_url)
        outcomes = [mine.events.add([event(f"{number}-{step}"), event(f"shared-{step}")]) for step in range(15)]
        mine.close()
        return [outcome for pair in outcomes for outcome in pair]

    outcomes = [outcome for mine in at_once(write, 4) for outcome in mine]
    assert set(outcomes) == {"accepted", "duplicate"}
    assert store.events.count() == 4 * 15 + 15


def test_an_event_that_another_process_commits_meanwhile_breaks_nothing(store: Store) -> None:
    """Between the look for known ids and the insert; SQLite's write lock leaves no such gap."""
    if store.engine.dialect.name == "sqlite":
        return
    store.catalogue.upsert([Video(id="v1")])
    waits = sa.text(
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    )
    row = event("e1").model_dump(mode="json") | {"received_at": 0.0}
    with ThreadPoolExecutor(1) as pool, store.engine.connect() as watcher:
        with store.engine.begin() as other:
            other.execute(sa.insert(events), row)
            added = pool.submit(store.events.add, [event("e1", type="like"), event("e2")])
            while not added.done() and watcher.execute(waits).scalar_one() == 0:
                watcher.rollback()
        added.result()
    assert sorted(row["event_id"] + row["type"] for row in store.events.tail()) == ["e1play", "e2play"]


WRITER = """
import itertools, sys
from data.home import Home
from data.schema import Event
from data.store import Store
store = Store.open(sys.argv[1])
for number in itertools.count():
    event_id = f"e{number}"
    outcome = store.events.add([Event(event_id=event_id, user_id="u", video_id="v1", type="play", occurred_at=1)])
    assert outcome == ["accepted"]
    print(event_id, flush=True)
"""


def test_an_acknowledged_event_survives_a_killed_writer(store: Store, database_url: str) -> None:
    store.catalogue.upsert([Video(id="v1")])
    writer = subprocess.Popen([sys.executable, "-c", WRITER, database_url], stdout=subprocess.PIPE, text=True)
    acknowledged = [writer.stdout.readline().strip() for _ in range(20)]
    writer.kill()
    acknowledged += writer.communicate()[0].split()
    store.close()
    reopened = Store.open(database_url)
    stored = {row["event_id"] for row in reopened.events.tail(100_000)}
    assert set(acknowledged) <= stored
    reopened.close()


def test_a_video_that_kills_whoever_works_on_it_is_given_up(store: Store) -> None:
    store.catalogue.upsert([Video(id="deadly", media_path="/deadly.mp4"), Video(id="v", media_path="/v.mp4")])
    for number in range(MAX_CLAIMS):
        assert store.catalogue.claim(f"run-{number}", 1, 60, "encoder")[0].id == "deadly"
        store.catalogue.release(f"run-{number}", dead=True)
    assert [record.id for record in store.catalogue.claim("last", 2, 60, "encoder")] == ["v"]
    record = store.catalogue.get("deadly")
    assert record is not None and record.state == VideoState.FAILED and (record.reason or "").startswith("crashed")


# ---- Answers -------------------------------------------------------------------------------------------------


def test_an_answer_is_kept_for_a_day_and_what_the_dead_began_is_begun_again(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1_700_000_000.0]
    monkeypatch.setattr(idempotency.time, "time", lambda: now[0])
    request, asked, otherwise = "a" * 64, "x" * 64, "y" * 64
    assert store.answers.begin(request, asked) is None
    with pytest.raises(InProgressError):
        store.answers.begin(request, asked)
    now[0] += idempotency.PATIENCE_S + 1
    assert store.answers.begin(request, asked) is None
    store.answers.keep(request, "the answer")
    now[0] += idempotency.KEEP_S - 1
    assert store.answers.begin(request, asked) == "the answer"
    with pytest.raises(AskedOtherwiseError):
        store.answers.begin(request, otherwise)
    now[0] += 2
    assert store.answers.begin(request, otherwise) is None
    store.answers.forget(request)
    assert store.answers.begin(request, asked) is None


def test_of_many_who_begin_at_once_one_may(store: Store) -> None:
    def begin(_: int) -> str:
        try:
            return "begun" if store.answers.begin("a" * 64, "x" * 64) is None else "answered"
        except InProgressError:
            return "in progress"

    with ThreadPoolExecutor(8) as threads:
        assert sorted(threads.map(begin, range(8))) == ["begun", *["in progress"] * 7]


# ---- Keys, and the database itself ---------------------------------------------------------------------------


def test_a_key_is_shown_once_and_ends_when_it_is_revoked(store: Store) -> None:
    assert not store.keys.any()
    key, secret = store.keys.create("player", "read")
    assert store.keys.any() and store.keys.role_of(secret) == "read"
    assert store.keys.role_of(secret + "x") is None and store.keys.role_of("") is None
    assert store.keys.list() == [key] and secret not in repr(store.keys.list())
    assert store.keys.revoke(key.id) and not store.keys.revoke(key.id)
    assert store.keys.role_of(secret) is None and store.keys.any(), "the last key gone must not open the door"
    assert store.keys.list()[0].revoked_at is not None
    with pytest.raises(ValueError, match="role must be one of"):
        store.keys.create("someone", "root")


def test_a_database_of_a_newer_version_is_refused_and_left_alone(store: Store, database_url: str) -> None:
    store.catalogue.upsert([Video(id="v1")])
    with store.engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StoreError, match="another version"):
        Store.open(database_url)
    assert store.catalogue.get("v1") is not None


def test_many_who_open_a_new_database_at_once_all_find_it_ready(database_url: str) -> None:
    versions = at_once(lambda _: Store.open(database_url).catalogue.version(), 8)
    assert versions == [0] * 8


def test_a_database_that_cannot_be_opened_says_so_without_the_password(tmp_path: Path) -> None:
    (tmp_path / "file.db").write_text("this is no database" * 100)
    with pytest.raises(StoreError, match="file is not a database"):
        Store.open(f"sqlite:///{tmp_path / 'file.db'}")
    with pytest.raises(StoreError, match="cannot open the database") as refused:
        Store.open(f"postgresql://watchnext:secret@127.0.0.1:{free_port()}/nothing")
    assert "secret" not in str(refused.value)


# ---- Exposures ---------------------------------------------------------------------------------------------


WORDS = Words(("collaborative", "popular"), ("pinned",), ("score", "age"))


def exposure(request_id: str, at: float, features: list[list[float]] | None, words: Words = WORDS) -> Exposure:
    items = np.array([(1, 0.5, 1.0, 0b11, -1), (2, 0.25, 0.75, 0b10, 0)], ITEM)
    described = None if features is None else np.array(features, np.float16)
    return Exposure(request_id, "u1", at, "home", None, "release-1", "s1", "miss", 21, words, items, described)


def test_exposures_come_back_in_words(store: Store) -> None:
    store.catalogue.upsert([Video(id="v1"), Video(id="v2")])
    numbers = {record.number: record.id for record in store.catalogue.all()}
    assert numbers == {1: "v1", 2: "v2"}
    store.exposures.add([exposure("r1", 100.0, [[0.5, np.nan], [2.0, 3.0]])])
    store.exposures.add([exposure("r2", 200.0, None)])
    newest, oldest = store.exposures.newest()
    assert (newest["request_id"], newest["items"][0]["features"]) == ("r2", None)
    assert {name: oldest[name] for name in ("surface", "country", "first_rank", "shown_at")} == {
        "surface": "home", "country": None, "first_rank": 21, "shown_at": 100.0,
    }  # fmt: skip
    assert oldest["items"] == [
        {"video_id": "v1", "rank": 21, "score": 0.5, "propensity": 1.0, "sources": ["collaborative", "popular"],
         "rule": None, "features": {"score": 0.5}},
        {"video_id": "v2", "rank": 22, "score": 0.25, "propensity": 0.75, "sources": ["popular"],
         "rule": "pinned", "features": {"score": 2.0, "age": 3.0}},
    ]  # fmt: skip
    assert list(store.exposures.newest(user_id="u2")) == [] and len(list(store.exposures.newest(1))) == 1


def test_exposures_with_other_features_are_not_mixed(store: Store) -> None:
    store.exposures.add([exposure(f"r{number}", float(number), [[number, 0], [number, 1]]) for number in range(5)])
    other = Words(WORDS.sources, WORDS.rules, ("age", "score"))
    store.exposures.add([exposure("other", 3.5, [[9, 9], [9, 9]], other), exposure("bare", 3.6, None)])
    found = store.exposures.with_features(("score", "age"), before=4.0, limit=3)
    assert found.request_ids.tolist() == ["r1", "r2", "r3"] and found.sizes.tolist() == [2, 2, 2]
    assert found.features.tolist() == [[1, 0], [1, 1], [2, 0], [2, 1], [3, 0], [3, 1]]
    assert found.items["number"].tolist() == [1, 2] * 3 and found.shown_at.tolist() == [1, 2, 3]
    nothing = store.exposures.with_features(("unknown",), before=9.0, limit=3)
    assert len(nothing) == 0 and nothing.features.shape == (0, 1)


def test_exposures_are_forgotten_by_their_age(store: Store) -> None:
    store.exposures.add([exposure(f"r{number}", float(number), None) for number in range(5)])
    assert store.exposures.forget_before(3.0) == 3
    assert [each["request_id"] for each in store.exposures.newest()] == ["r4", "r3"]
