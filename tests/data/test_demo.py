"""The demo world: its clips decode, its events are valid and possible, and the same seed is the same world."""

import hashlib
from collections import Counter
from pathlib import Path

import av
import numpy as np
import pandas as pd
import pytest

from data.demo import DEFAULT_END, GENRES, World, clips, make_clips, make_world, plan_clips
from data.demo.viewers import COLUMNS, make_events
from data.demo.world import describe
from data.schema import Event, Video

CLIPS, VIEWERS, SEED = 24, 40, 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def world(folder: Path) -> World:
    return make_world(folder, clips=CLIPS, viewers=VIEWERS, seed=SEED, workers=1)


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.glob("*.mp4"))}


def test_every_clip_is_a_video_that_a_browser_plays(world: World) -> None:
    assert len(world.videos) == CLIPS
    for video in world.videos:
        assert video.media_path is not None and Path(video.media_path).is_absolute()
        head = Path(video.media_path).read_bytes()
        assert 0 < head.index(b"moov") < head.index(b"mdat"), "the index stands before the pictures (faststart)"
        with av.open(video.media_path) as container:
            stream = container.streams.video[0]
            assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
            assert (stream.width, stream.height) == (clips.FRAME_WIDTH, clips.FRAME_HEIGHT)
            assert stream.average_rate == clips.FRAMES_PER_SECOND
            frames = [frame.to_ndarray(format="gray") for frame in container.decode(stream)]
        assert video.duration_s == pytest.approx(len(frames) / clips.FRAMES_PER_SECOND, abs=1e-3)
        assert 4 <= video.duration_s <= 6
        assert frames[0].std() > 8, "a picture, not a plain colour"
        assert (frames[0] != frames[-1]).mean() > 0.02, "something moves"


def test_the_catalogue_hides_the_held_back_labels(world: World) -> None:
    assert len(world.held_back) == CLIPS // 4
    for video in world.videos:
        expected = [] if video.id in world.held_back else [world.true_labels[video.id]]
        assert video.labels == expected
        assert video.title and video.description and video.tags and video.creator and video.published_at
        assert Video.model_validate(video.model_dump()) == video


def test_every_event_is_valid_and_possible(world: World) -> None:
    assert tuple(world.events.columns) == COLUMNS == tuple(Event.model_fields)
    videos = {video.id: video for video in world.videos}
    events = [Event.model_validate(row) for row in world.events.to_dict("records")]
    assert len({event.event_id for event in events}) == len(events)
    assert world.events["occurred_at"].is_monotonic_increasing
    for event in events:
        video = videos[event.video_id]
        assert video.published_at is not None and event.occurred_at >= video.published_at
        assert event.occurred_at >= (video.available_from or 0) and event.occurred_at <= DEFAULT_END
        assert event.occurred_at < (video.available_until or float("inf"))
        assert not video.regions or event.country in video.regions
    assert len({event.user_id for event in events}) == VIEWERS


def test_the_same_seed_is_the_same_world(world: World, tmp_path: Path) -> None:
    again = make_world(tmp_path, clips=6, viewers=5, seed=SEED, workers=2)
    before = digests(Path(world.videos[0].media_path or "").parent)
    assert digests(tmp_path) == {name: before[name] for name in digests(tmp_path)}
    labels = world.true_labels
    events, cut = make_events(world.videos, labels, VIEWERS, SEED, DEFAULT_END)
    assert events.equals(world.events) and cut == world.cut
    assert not make_events(world.videos, labels, VIEWERS, SEED + 1, DEFAULT_END)[0].equals(events)
    assert len(again.events) > 0


def test_an_interrupted_run_leaves_whole_clips_and_is_continued(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plans = plan_clips(3, SEED)
    real, drawn = clips.av.VideoFrame.from_image, 0

    class Interrupted:
        @staticmethod
        def from_image(picture: object) -> av.VideoFrame:
            nonlocal drawn
            drawn += 1
            if drawn > plans[0].frames + 10:
                raise KeyboardInterrupt
            return real(picture)

    with monkeypatch.context() as patch:
        patch.setattr(clips.av, "VideoFrame", Interrupted)
        with pytest.raises(KeyboardInterrupt):
            make_clips(plans, tmp_path, workers=1)
    assert [path.name for path in tmp_path.iterdir()] == [f"{plans[0].id}.mp4"]
    assert make_clips(plans, tmp_path, workers=1) == 2
    kept = digests(tmp_path)

    cut_off = plans[1].path(tmp_path)
    cut_off.write_bytes(cut_off.read_bytes()[:1000])
    assert make_clips(plans, tmp_path, workers=1) == 1, "a damaged clip is drawn again, whole ones are kept"
    assert digests(tmp_path) == kept
    assert make_clips(plans, tmp_path, workers=1) == 0
    assert not clips.is_complete(plans[0].path(tmp_path), plan_clips(3, SEED + 1)[0]), "another seed, another clip"


def test_the_default_world_is_rich(tmp_path: Path) -> None:
    plans = plan_clips(200, 7)
    per_genre = Counter(GENRES[plan.genre].label for plan in plans)
    assert len(per_genre) >= 12 and min(per_genre.values()) >= 12
    assert len({plan.id for plan in plans}) == 200

    videos, held_back = describe(plans, tmp_path, 7, DEFAULT_END)
    labels = {plan.id: GENRES[plan.genre].label for plan in plans}
    assert len(held_back) == 50 and {labels[id_] for id_ in held_back} == set(per_genre)
    assert len({video.title for video in videos}) == 200
    assert len({video.creator for video in videos}) >= 20
    assert any(video.available_until for video in videos) and any(video.regions for video in videos)
    assert {video.rating for video in videos} >= {None, 12} and any(video.episode for video in videos)

    events, cut = make_events(videos, labels, 500, 7, DEFAULT_END)
    assert 25_000 <= len(events) <= 50_000 and events["user_id"].nunique() == 500
    assert set(events["type"]) >= {"impression", "play", "watch", "complete", "like", "save", "share", "dislike"}
    watched = events[events["type"] == "watch"]
    assert watched.duplicated(["user_id", "video_id"]).mean() < 0.05, "a second watch is rare"
    fresh = watched.drop_duplicates(["user_id", "video_id"])
    fresh = fresh[fresh["occurred_at"] >= cut]
    assert fresh["user_id"].nunique() > 350, "most viewers watch something new after the cut"


def test_histories_tell_what_comes_next_better_than_popularity_does(tmp_path: Path) -> None:
    plans = plan_clips(200, 7)
    labels = {plan.id: GENRES[plan.genre].label for plan in plans}
    events, cut = make_events(describe(plans, tmp_path, 7, DEFAULT_END)[0], labels, 500, 7, DEFAULT_END)
    watched = events[events["type"] == "watch"].drop_duplicates(["user_id", "video_id"])
    past, tail = watched[watched["occurred_at"] < cut], watched[watched["occurred_at"] >= cut]
    counts = pd.crosstab(past["user_id"], past["video_id"])
    popular = counts.sum()
    genre_share = counts.T.groupby(labels).sum().T  # (viewers, genres)
    own = genre_share[[labels[video_id] for video_id in counts.columns]].to_numpy()
    tail = tail[tail["user_id"].isin(counts.index) & tail["video_id"].isin(counts.columns)]
    viewers, videos = counts.index.get_indexer(tail["user_id"]), counts.columns.get_indexer(tail["video_id"])

    def hits(scores: np.ndarray) -> float:
        """How many of the tail's watches are among the ten best unwatched videos of their viewer."""
        scores = np.where(counts.to_numpy() > 0, -np.inf, scores)
        ranks = (-scores).argsort(axis=1).argsort(axis=1)
        return float((ranks[viewers, videos] < 10).mean())

    everywhere = np.broadcast_to(popular.to_numpy(), counts.shape)
    assert hits((own + 0.5) * everywhere) > 1.4 * hits(everywhere)
