"""The encoder's work on a real catalogue: nothing lost, nothing done twice, whatever happens in between."""

import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from data.embeddings import EmbeddingTable
from data.files import sha256_of
from data.home import Home
from data.schema import Video, VideoRecord, VideoState
from data.store import Catalogue, Store
from embedder.batch import EmbedReport, EmbedSettings, embed
from embedder.decode_settings import DecodeSettings
from embedder.encoders import Encoder, EncoderError
from embedder.isolation import DecodePool
from embedder.labels import LabelHead
from embedder.media import Clip, MediaSample, Reason, Wanted
from embedder.thumbnails import thumbnail_path
from tests.embedder.made_clips import StubEncoder, repeat_video, write_sound, write_video


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("originals")
    return [write_video(folder / f"{number}.mp4", frames=24, seed=number, size=(192, 144)) for number in range(12)]


def add(store: Store, home: Home, files: list[Path], **fields: Any) -> list[str]:
    """Copies files to the home's media and adds them to the catalogue; returns their ids."""
    home.media.mkdir(parents=True, exist_ok=True)
    videos = []
    for number, path in enumerate(files):
        name = f"{number:03d}-{path.name}"
        shutil.copyfile(path, home.media / name)
        videos.append(Video(id=name, media_path=name, **fields))
    store.catalogue.upsert(videos)
    return [video.id for video in videos]


def records(store: Store) -> dict[str, VideoRecord]:
    return {record.id: record for record in store.catalogue.all()}


def table_of(home: Home, encoder: Encoder) -> EmbeddingTable:
    table = EmbeddingTable.create(home.embeddings, encoder.id, encoder.dim)
    table.verify()
    return table


def vectors(home: Home, encoder: Encoder) -> dict[str, np.ndarray]:
    table = table_of(home, encoder)
    return dict(zip(table.ids, np.array(table.matrix), strict=True))


def summary(report: EmbedReport) -> tuple[int, int, dict[Reason, int]]:
    return report.encoded, report.reused, dict(report.failed)


def test_videos_become_ready(store: Store, home: Home, originals: list[Path], encoder: Encoder) -> None:
    ids = add(store, home, originals[:4])

    report = embed(store, home, encoder=encoder)

    assert summary(report) == (4, 0, {}) and report.videos_per_s > 0
    for video_id, record in records(store).items():
        assert (record.state, record.encoder_id, record.reason) == (VideoState.READY, encoder.id, None)
        assert record.duration_s == pytest.approx(1.0)
        assert record.thumbnail_path is not None and (home.root / record.thumbnail_path).is_file(), video_id
    found = vectors(home, encoder)
    assert sorted(found) == ids
    assert [float(np.linalg.norm(vector)) for vector in found.values()] == pytest.approx([1.0] * 4, abs=1e-5)


def test_a_second_run_has_nothing_to_do(store: Store, home: Home, originals: list[Path]) -> None:
    add(store, home, originals[:2])
    encoder = StubEncoder()

    assert summary(embed(store, home, encoder=encoder)) == (2, 0, {})
    assert summary(embed(store, home, encoder=encoder)) == (0, 0, {})
    assert encoder.clips == 2


def test_bad_files_cost_themselves(store: Store, home: Home, originals: list[Path], tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("not a video")
    write_sound(tmp_path / "sound.mp4")
    bad = [tmp_path / "empty.mp4", tmp_path / "text.mp4", tmp_path / "sound.mp4"]
    ids = add(store, home, [*bad, originals[0]])
    store.catalogue.upsert([Video(id="missing", media_path="nowhere.mp4")])

    report = embed(store, home, encoder=StubEncoder())

    expected = {Reason.EMPTY_FILE: 1, Reason.NOT_A_VIDEO: 1, Reason.NO_VIDEO_TRACK: 1, Reason.NOT_FOUND: 1}
    assert summary(report) == (1, 0, expected)
    found = records(store)
    reasons = [found[video_id].reason for video_id in ids]
    assert [reason and reason.split(":")[0] for reason in reasons] == [
        "empty_file",
        "not_a_video",
        "no_video_track",
        None,
    ]
    assert [found[video_id].state for video_id in ids] == [VideoState.FAILED] * 3 + [VideoState.READY]


def test_what_may_pass_is_tried_again_by_later_runs_only(store: Store, home: Home, originals: list[Path]) -> None:
    """A file on a share that is away is not there now; it may be tomorrow."""
    (video_id,) = add(store, home, originals[:1])
    file = home.media / video_id
    file.rename(file.with_suffix(".away"))

    report = embed(store, home, encoder=StubEncoder())
    assert (summary(report), report.retried_later) == ((0, 0, {Reason.NOT_FOUND: 1}), 1)
    assert records(store)[video_id].state == VideoState.PENDING
    assert records(store)[video_id].attempts == 1

    file.with_suffix(".away").rename(file)
    assert summary(embed(store, home, encoder=StubEncoder())) == (1, 0, {})


def test_retries_come_to_an_end(store: Store, home: Home) -> None:
    store.catalogue.upsert([Video(id="missing", media_path="nowhere.mp4")])
    for _ in range(3):
        embed(store, home, encoder=StubEncoder())

    assert records(store)["missing"].state == VideoState.FAILED
    assert str(records(store)["missing"].reason).startswith("not_found")


def test_a_file_that_hangs_does_not_hold_the_others(
    store: Store, home: Home, originals: list[Path], tmp_path: Path
) -> None:
    short = write_video(tmp_path / "short.mp4", size=(1280, 720), frames=24, bframes=False)
    slow = repeat_video(short, tmp_path / "slow.ts", 600)
    ids = add(store, home, [slow, *originals[:6]])
    settings = EmbedSettings(workers=2, time_limit_s=1.5, decode=DecodeSettings(exact_megapixels=1e9))

    report = embed(store, home, settings, StubEncoder())

    assert summary(report) == (6, 0, {Reason.TIMED_OUT: 1})
    assert records(store)[ids[0]].state == VideoState.PENDING


# ---- The same bytes ----------------------------------------------------------------------------------------


def test_the_same_bytes_are_encoded_once_in_a_run(store: Store, home: Home, originals: list[Path]) -> None:
    ids = add(store, home, [originals[0], originals[1], originals[0], originals[0]])
    encoder = StubEncoder()

    report = embed(store, home, EmbedSettings(workers=2), encoder)

    assert summary(report) == (2, 2, {}) and encoder.clips == 2
    found = vectors(home, encoder)
    assert np.array_equal(found[ids[0]], found[ids[2]]) and np.array_equal(found[ids[0]], found[ids[3]])
    assert not np.array_equal(found[ids[0]], found[ids[1]])
    for record in records(store).values():
        assert record.state == VideoState.READY and record.duration_s == pytest.approx(1.0)
        assert record.thumbnail_path and (home.root / record.thumbnail_path).is_file()


def test_the_same_bytes_are_encoded_once_in_all_runs(store: Store, home: Home, originals: list[Path]) -> None:
    encoder = StubEncoder()
    add(store, home, originals[:1])
    embed(store, home, encoder=encoder)
    store.catalogue.upsert([Video(id="again", media_path=str(originals[0]), content_hash=sha256_of(originals[0]))])

    assert summary(embed(store, home, encoder=encoder)) == (0, 1, {}) and encoder.clips == 1
    assert len({vector.tobytes() for vector in vectors(home, encoder).values()}) == 1


def test_twins_of_a_bad_file_fail_with_it(store: Store, home: Home, tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("not a video")
    ids = add(store, home, [tmp_path / "text.mp4"] * 3)

    report = embed(store, home, EmbedSettings(workers=2), StubEncoder())

    assert report.failed == {Reason.NOT_A_VIDEO: 3}
    assert {records(store)[video_id].state for video_id in ids} == {VideoState.FAILED}


def test_new_bytes_are_encoded_anew(store: Store, home: Home, originals: list[Path]) -> None:
    encoder = StubEncoder()
    (video_id,) = add(store, home, originals[:1])
    embed(store, home, encoder=encoder)
    before = vectors(home, encoder)[video_id]
    store.catalogue.upsert([Video(id=video_id, media_path=str(originals[1]))])

    assert summary(embed(store, home, encoder=encoder)) == (1, 0, {})
    assert not np.array_equal(vectors(home, encoder)[video_id], before)


def test_another_encoder_encodes_all_again_in_a_table_of_its_own(
    store: Store, home: Home, originals: list[Path]
) -> None:
    add(store, home, originals[:3])
    first, second = StubEncoder(), StubEncoder()
    second.id = "stub/another"  # type: ignore[misc]
    embed(store, home, encoder=first)

    assert summary(embed(store, home, encoder=second)) == (3, 0, {})
    assert len(vectors(home, first)) == len(vectors(home, second)) == 3
    assert {record.encoder_id for record in records(store).values()} == {"stub/another"}


# ---- Crashes -----------------------------------------------------------------------------------------------


def test_a_crash_between_table_and_catalogue_costs_no_encoding(
    store: Store, home: Home, originals: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = add(store, home, originals[:6])
    encoder = StubEncoder()
    with monkeypatch.context() as patch:

        def broken(*_arguments: object, **_named: object) -> None:
            raise OSError("the disk went away")

        patch.setattr(Catalogue, "mark_ready", broken)
        with pytest.raises(OSError, match="went away"):
            embed(store, home, EmbedSettings(write_every=6), encoder)
    assert {record.state for record in records(store).values()} == {VideoState.PENDING}
    before = vectors(home, encoder)
    assert sorted(before) == ids

    assert summary(embed(store, home, encoder=encoder)) == (0, 6, {}) and encoder.clips == 6
    assert {record.state for record in records(store).values()} == {VideoState.READY}
    after = vectors(home, encoder)
    assert all(np.array_equal(after[video_id], before[video_id]) for video_id in ids)
    assert all(record.duration_s == pytest.approx(1.0) for record in records(store).values())


def test_a_vector_of_older_bytes_is_not_taken_for_the_new_ones(
    store: Store, home: Home, originals: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The origin was written, the vector was not: the older vector in the table must not pass for it."""
    encoder = StubEncoder()
    (video_id,) = add(store, home, originals[:1])
    embed(store, home, encoder=encoder)
    old = vectors(home, encoder)[video_id]
    store.catalogue.upsert([Video(id=video_id, media_path=str(originals[1]))])
    with monkeypatch.context() as patch:

        def broken(*_arguments: object) -> None:
            raise OSError("the disk went away")

        patch.setattr(EmbeddingTable, "append", broken)
        with pytest.raises(OSError, match="went away"):
            embed(store, home, encoder=encoder)

    assert summary(embed(store, home, encoder=encoder)) == (1, 0, {})
    assert not np.array_equal(vectors(home, encoder)[video_id], old)


def test_a_torn_line_of_the_log_costs_one_encoding(store: Store, home: Home, originals: list[Path]) -> None:
    encoder = StubEncoder()
    add(store, home, originals[:1])
    embed(store, home, encoder=encoder)
    log = table_of(home, encoder).folder / "contents.jsonl"
    log.write_bytes(log.read_bytes()[:-20])
    store.catalogue.upsert([Video(id="twin", media_path=str(originals[0]))])

    assert summary(embed(store, home, encoder=encoder)) == (1, 0, {})
    store.catalogue.upsert([Video(id="triplet", media_path=str(originals[0]))])
    assert summary(embed(store, home, encoder=encoder)) == (0, 1, {})


RUN = """
import sys
from data.home import Home
from data.store import Store
from embedder.batch import EmbedSettings, embed
home = Home.at(sys.argv[1])
embed(Store.open(home.database_url), home, EmbedSettings(write_every=2, workers=1))
"""


def ready(store: Store) -> set[str]:
    return {record.id for record in store.catalogue.all(VideoState.READY)}


def start_run(home: Home, models_home: Home) -> subprocess.Popen[bytes]:
    shutil.copytree(models_home.models, home.models, dirs_exist_ok=True)
    return subprocess.Popen([sys.executable, "-c", RUN, str(home.root)])


def wait_for_first(store: Store, run: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while not ready(store):
        assert run.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)


def test_kill_9_loses_nothing_and_nothing_is_encoded_twice(
    store: Store, home: Home, originals: list[Path], encoder: Encoder, models_home: Home
) -> None:
    ids = add(store, home, originals)
    run = start_run(home, models_home)
    wait_for_first(store, run)
    run.kill()
    run.wait()

    done, before = ready(store), vectors(home, encoder)
    assert 0 < len(done) < len(ids), "it was killed in the middle"
    assert done <= set(before), "what is ready is in the table"

    started = time.monotonic()
    report = embed(store, home, encoder=encoder)

    assert report.encoded == len(ids) - len(before), "what the killed run had written is not encoded again"
    assert report.reused == len(before) - len(done)
    assert ready(store) == set(ids)
    after = vectors(home, encoder)
    assert sorted(after) == ids
    assert all(np.array_equal(after[video_id], vector) for video_id, vector in before.items())
    assert time.monotonic() - started < EmbedSettings().lease_s / 2, "the dead run's leases are not waited for"
    assert store.catalogue.lease_owners() == []


def test_a_living_run_keeps_what_it_has_claimed(store: Store, home: Home, originals: list[Path]) -> None:
    """Two runs at once: each video is encoded by one of them."""
    ids = add(store, home, originals)
    encoders = [StubEncoder(), StubEncoder()]
    table_of(home, encoders[0])
    runs = [
        threading.Thread(target=embed, args=(store, home, EmbedSettings(workers=1, ahead=1)), kwargs={"encoder": one})
        for one in encoders
    ]
    for run in runs:
        run.start()
    for run in runs:
        run.join()

    assert sum(encoder.clips for encoder in encoders) == len(ids)
    assert ready(store) == set(ids) == set(vectors(home, encoders[0]))


def test_leases_are_renewed_while_the_work_goes_on(store: Store, home: Home, originals: list[Path]) -> None:
    """Encoding all of it takes longer than a lease; a rival that would take what ran out gets nothing."""
    add(store, home, originals[:6])
    stolen: list[VideoRecord] = []

    class Slow(StubEncoder):
        def encode(self, clips: Any) -> np.ndarray:
            time.sleep(0.6)  # the work itself, not a wait for something to happen
            stolen.extend(store.catalogue.claim("rival", 10, 60, self.id))
            return super().encode(clips)

    embed(store, home, EmbedSettings(workers=1, ahead=6, batch=1, lease_s=2), Slow())

    assert stolen == []
    assert len(ready(store)) == 6


def test_leases_hold_while_one_call_of_the_encoder_takes_longer(
    store: Store, home: Home, originals: list[Path]
) -> None:
    add(store, home, originals[:3])
    stolen: list[VideoRecord] = []

    class Slow(StubEncoder):
        def encode(self, clips: Any) -> np.ndarray:
            time.sleep(2)  # the work itself, twice as long as a lease
            stolen.extend(store.catalogue.claim("rival", 10, 60, self.id))
            return super().encode(clips)

    report = embed(store, home, EmbedSettings(lease_s=1), Slow())
    assert stolen == [] and summary(report) == (3, 0, {}) and len(ready(store)) == 3


def test_only_what_became_ready_is_counted(store: Store, home: Home, originals: list[Path]) -> None:
    """The media of a video changes while it is encoded: its claim ends, the vector is not that of the new file."""
    ids = add(store, home, originals[:2])

    class Meanwhile(StubEncoder):
        def encode(self, clips: Any) -> np.ndarray:
            store.catalogue.upsert([Video(id=ids[0], media_path=ids[1])])
            return super().encode(clips)

    report = embed(store, home, EmbedSettings(workers=1, ahead=2), Meanwhile())
    assert report.encoded + report.reused == len(ready(store)) + report.failed.total()


class Picky(StubEncoder):
    """Makes nothing of the clip whose first picture is the darkest."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how

    def encode(self, clips: Sequence[Clip]) -> np.ndarray:
        dark = [clip.frames is not None and clip.frames[0].mean() < 30 for clip in clips]
        if self.how == "raises" and any(dark):
            raise RuntimeError("no picture at all")
        vectors = super().encode([*clips])
        vectors[dark] = {"raises": 1, "not a number": np.nan, "zero": 0}[self.how]
        return vectors


@pytest.mark.parametrize("how", ["raises", "not a number", "zero"])
def test_a_video_that_the_encoder_makes_nothing_of_costs_itself(
    store: Store, home: Home, originals: list[Path], tmp_path: Path, how: str
) -> None:
    dark = write_video(tmp_path / "dark.mp4", picture_of=lambda number: np.full((240, 320, 3), number, np.uint8))
    *good, bad = add(store, home, [*originals[:3], dark])

    report = embed(store, home, EmbedSettings(workers=1, ahead=4), Picky(how))

    assert summary(report) == (3, 0, {Reason.NOT_ENCODABLE: 1})
    assert ready(store) == set(good) and str(records(store)[bad].reason).startswith("not_encodable: ")
    assert summary(embed(store, home, encoder=Picky(how))) == (0, 0, {})


def test_an_encoder_that_is_broken_blames_no_video(store: Store, home: Home, originals: list[Path]) -> None:
    ids = add(store, home, originals[:3])

    class Broken(StubEncoder):
        def encode(self, clips: Sequence[Clip]) -> np.ndarray:
            return np.full((len(clips), self.dim), np.nan, np.float32)

    with pytest.raises(EncoderError, match="stub/mean-colour gives no vector of length 1"):
        embed(store, home, encoder=Broken())
    assert {record.state for record in records(store).values()} == {VideoState.PENDING}
    assert {record.attempts for record in records(store).values()} == {0}
    assert summary(embed(store, home, encoder=StubEncoder())) == (len(ids), 0, {})


def test_something_unforeseen_costs_the_video_at_which_it_happened(
    store: Store, home: Home, originals: list[Path]
) -> None:
    bad, *good = add(store, home, originals[:3])
    thumbnail_path(home, bad).mkdir(parents=True)  # where a file should go there is a folder

    report = embed(store, home, encoder=StubEncoder())

    assert summary(report) == (2, 0, {Reason.CRASHED: 1}) and ready(store) == set(good)
    assert records(store)[bad].state == VideoState.PENDING, "tried again by later runs"


def test_a_file_that_is_written_to_while_it_is_read_is_tried_again(
    store: Store, home: Home, originals: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    (video_id,) = add(store, home, originals[:1])
    read = DecodePool.read

    def slow_upload(pool: DecodePool, path: Path, wanted: Wanted) -> MediaSample:
        shutil.copyfile(originals[1], path)
        return read(pool, path, wanted)

    with monkeypatch.context() as patched:
        patched.setattr(DecodePool, "read", slow_upload)
        assert summary(embed(store, home, encoder=StubEncoder())) == (0, 0, {Reason.CHANGED: 1})
    encoder = StubEncoder()
    assert summary(embed(store, home, encoder=encoder)) == (1, 0, {})
    assert records(store)[video_id].content_hash == sha256_of(originals[1])


def test_files_beyond_the_largest_size_are_refused(store: Store, home: Home, originals: list[Path]) -> None:
    (small, large) = add(store, home, originals[:2])
    with (home.media / large).open("r+b") as file:
        file.truncate(3_000_000_000)  # a hole: no bytes on the disk

    report = embed(store, home, EmbedSettings(max_file_gb=2.5), StubEncoder())
    assert summary(report) == (1, 0, {Reason.TOO_LARGE: 1}) and ready(store) == {small}
    assert records(store)[large].reason == "too_large: a file of 3.0 GB, more than 2.5"


def test_ctrl_c_writes_what_is_encoded_and_gives_the_rest_back(store: Store, home: Home, originals: list[Path]) -> None:
    ids = add(store, home, originals)

    class Interrupted(StubEncoder):
        def encode(self, clips: Any) -> np.ndarray:
            if self.clips >= 3:
                raise KeyboardInterrupt
            return super().encode(clips)

    encoder = Interrupted()
    with pytest.raises(KeyboardInterrupt):
        embed(store, home, EmbedSettings(workers=1, batch=1), encoder)

    assert len(ready(store)) == encoder.clips == len(vectors(home, encoder)) == 3
    assert store.catalogue.lease_owners() == []
    assert {record.attempts for record in store.catalogue.all(VideoState.PENDING)} == {0}
    assert not [child for child in psutil.Process().children() if "embedder.decode_worker" in child.cmdline()]
    assert summary(embed(store, home, encoder=StubEncoder())) == (len(ids) - 3, 0, {})


def test_stop_ends_the_work_in_order(store: Store, home: Home, originals: list[Path]) -> None:
    ids = add(store, home, originals)
    stop = threading.Event()

    class Stopping(StubEncoder):
        def encode(self, clips: Any) -> np.ndarray:
            stop.set()
            return super().encode(clips)

    report = embed(store, home, EmbedSettings(workers=1, ahead=2, batch=1), Stopping(), stop)

    assert 0 < report.encoded < len(ids) and len(ready(store)) == report.encoded
    assert store.catalogue.lease_owners() == []


def test_a_broken_installation_blames_no_file(
    store: Store, home: Home, originals: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    add(store, home, originals[:2])
    monkeypatch.setenv("PYTHONHOME", "/nowhere")

    with pytest.raises(RuntimeError, match="decode worker does not start"):
        embed(store, home, encoder=StubEncoder())

    assert {record.state for record in records(store).values()} == {VideoState.PENDING}
    assert {record.attempts for record in records(store).values()} == {0}


def test_settings_refuse_what_they_do_not_know() -> None:
    with pytest.raises(ValueError, match="wokers"):
        EmbedSettings.model_validate({"wokers": 2})
    with pytest.raises(ValueError, match="workers"):
        DecodePool(0)


def test_lost_vectors_are_made_again(store: Store, home: Home, originals: list[Path]) -> None:
    add(store, home, originals[:3])
    embed(store, home, encoder=StubEncoder())
    shutil.rmtree(home.embeddings)
    encoder = StubEncoder()
    assert summary(embed(store, home, encoder=encoder)) == (3, 0, {})
    assert len(vectors(home, encoder)) == 3


def test_a_file_that_changed_since_it_was_added_is_not_taken_for_what_it_was(
    store: Store, home: Home, originals: list[Path]
) -> None:
    encoder = StubEncoder()
    same, changed = add(store, home, [originals[0], originals[0]])
    for name in (same, changed):
        known = store.catalogue.get(name)
        assert known is not None
        described = Video(id=name, media_path=name, content_hash=sha256_of(home.media / name))
        store.catalogue.upsert([described])
    shutil.copyfile(originals[1], home.media / changed)
    assert summary(embed(store, home, encoder=encoder)) == (2, 0, {})
    assert records(store)[changed].content_hash == sha256_of(originals[1])
    found = vectors(home, encoder)
    assert not np.allclose(found[same], found[changed])


def test_a_new_video_gets_the_labels_that_were_learnt(store: Store, home: Home, originals: list[Path]) -> None:
    encoder = StubEncoder()
    head = LabelHead(
        encoder_id=encoder.id,
        labels=("red", "blue"),
        kind="softmax",
        weight=np.zeros((2, encoder.dim), np.float32),
        bias=np.array([2.0, 0.0], np.float32),
    )
    head.save(home)
    (video,) = add(store, home, originals[:1])
    embed(store, home, encoder=encoder)
    assert records(store)[video].predicted_labels == pytest.approx({"red": 0.881}, abs=0.001)


# ---- What is stored beside the vector, and what other encoders made -----------------------------------------


def test_what_was_seen_of_a_file_is_stored_with_its_video(store: Store, home: Home, originals: list[Path]) -> None:
    grey = write_video(home.root / "grey.mp4", frames=24, picture_of=lambda _: np.full((240, 320, 3), 60, np.uint8))
    good, blank, twin = add(store, home, [originals[0], grey, originals[0]])
    embed(store, home, encoder=StubEncoder())

    seen = records(store)
    assert (seen[good].quality, seen[good].frames_decoded, seen[good].distinct_share) == ("good", 4, 1.0)
    assert (seen[blank].quality, seen[blank].distinct_share) == ("blank", 0.25)
    assert (seen[twin].quality, seen[twin].frames_decoded) == ("good", 4), "also when the vector was copied"
    store.catalogue.upsert([Video(id=good, media_path=f"{good}.new")])
    assert records(store)[good].quality is None, "it was of the old file"


class Reader:
    """An encoder that reads and does not look: letters by their share."""

    id = "stub/letters"
    dim = 26
    device = "cpu"
    licence = "none"
    wants = Wanted(text=True)

    def __init__(self) -> None:
        self.read: list[str] = []

    def encode(self, clips: Sequence[Clip]) -> np.ndarray:
        self.read += [clip.text for clip in clips]
        letters = np.stack([[clip.text.lower().count(chr(97 + n)) for n in range(26)] for clip in clips])
        return (letters / np.linalg.norm(letters, axis=1, keepdims=True)).astype(np.float32)


def test_an_encoder_that_reads_gets_the_text_and_again_when_it_changes(
    store: Store, home: Home, originals: list[Path]
) -> None:
    ids = add(store, home, originals[:3], title="Waves", description="The sea", tags=["water", "blue"])
    reader = Reader()
    embed(store, home, encoder=reader)
    assert reader.read == ["Waves\nThe sea\nwater, blue"] * 3, "the same text with other files is not the same video"

    changed = records(store)[ids[1]].model_copy(update={"title": "Dunes"})
    store.catalogue.upsert([Video.model_validate(changed.model_dump(include=set(Video.model_fields)))])
    again = Reader()
    assert summary(embed(store, home, encoder=again)) == (1, 0, {}) and again.read == ["Dunes\nThe sea\nwater, blue"]
    assert summary(embed(store, home, encoder=Reader())) == (0, 0, {})


def test_what_is_written_of_a_file_is_enough_for_an_encoder_that_reads_too(
    store: Store, home: Home, tmp_path: Path
) -> None:
    """A missing track is no error: sound without pictures, pictures without sound."""

    class Everything(StubEncoder):
        id = "stub/everything"

        def __init__(self, **wants: Any) -> None:
            super().__init__()
            self.wants = Wanted(text=True, **wants)

        def encode(self, clips: Sequence[Clip]) -> np.ndarray:
            assert all(clip.text and clip.frames is None for clip in clips)
            return np.eye(len(clips), self.dim, dtype=np.float32)

    sound, silent = write_sound(tmp_path / "sound.mp4"), write_video(tmp_path / "silent.mp4")
    add(store, home, [sound], title="a song")
    assert summary(embed(store, home, encoder=Everything(frames=4))) == (1, 0, {})
    store.catalogue.upsert([Video(id="silent", media_path=str(silent), title="hush")])
    store.catalogue.upsert([Video(id="unnamed", media_path=str(silent), description=" \n ")])
    report = embed(store, home, encoder=Everything(sound=True))
    assert summary(report)[1:] == (0, {Reason.NO_SOUND: 1})
    assert "silent" in ready(store) and "unnamed" not in ready(store)


def test_a_video_without_a_text_tells_an_encoder_that_reads(store: Store, home: Home, originals: list[Path]) -> None:
    (name,) = add(store, home, originals[:1])
    assert summary(embed(store, home, encoder=Reader())) == (0, 0, {Reason.NO_TEXT: 1})
    assert (records(store)[name].reason or "").startswith("no_text: ")


def test_what_an_older_encoder_made_of_a_file_that_changed_is_dropped(
    store: Store, home: Home, originals: list[Path]
) -> None:
    class Newer(StubEncoder):
        id = "stub/newer"

    ids = add(store, home, originals[:4])
    old = StubEncoder()
    embed(store, home, encoder=old)
    before = vectors(home, old)
    shutil.copyfile(originals[7], home.media / ids[2])
    store.catalogue.encode_again([ids[2]])
    embed(store, home, encoder=Newer())

    assert set(vectors(home, Newer())) == set(ids), "the new encoder has seen all"
    after = vectors(home, old)
    assert set(after) == set(ids) - {ids[2]}, "and the old one's picture of the replaced file is gone"
    assert all(np.array_equal(after[name], before[name]) for name in after)
