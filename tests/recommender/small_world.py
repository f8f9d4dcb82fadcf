"""A world that is small enough to know: three genres, their viewers, and one vector per video."""

import numpy as np

from data.embeddings import EmbeddingTable
from data.home import Home
from data.schema import Event, MediaFacts, Video
from data.store import Store
from recommender.settings import RecommenderSettings

ENCODER, DIM = "encoder-1", 8
GENRES = {"space": "US", "sports": "DE", "cooking": "FR"}  # and where its viewers live
PER_GENRE, VIEWERS_PER_GENRE = 10, 8
NOW = 1_700_000_000.0

SETTINGS = RecommenderSettings.model_validate({"collaborative": {"factors": 4, "regularization": 1.0, "iterations": 5}})
# How busy the machine is that tests run on decides nothing.
SETTINGS.pipeline.deadline_ms = 60_000.0
for _, _source in SETTINGS.sources:
    _source.deadline_ms = 60_000.0

#: A program that begins so dies, as if by kill -9, at the n-th of its durable writes (its second argument).
DIES_AT_A_WRITE = """
import os, signal, sys
writes, durable = 0, os.fsync
def fsync(handle):
    global writes
    writes += 1
    if writes == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
    durable(handle)
os.fsync = fsync
"""


def fill(store: Store, home: Home) -> None:
    """Videos `space-0` … `cooking-9`; viewers `space-viewer-0` … who watched five of the ten of their genre."""
    rng = np.random.default_rng(0)
    names = [f"{genre}-{number}" for genre in GENRES for number in range(PER_GENRE)]
    store.catalogue.upsert(
        Video(id=name, title=name.title(), labels=[name.split("-")[0]], media_path=f"/{name}.mp4") for name in names
    )
    vectors = np.repeat(np.eye(DIM)[: len(GENRES)], PER_GENRE, axis=0) + 0.2 * rng.normal(size=(len(names), DIM))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    EmbeddingTable.create(home.embeddings, ENCODER, DIM).append(names, vectors)
    for name in names:
        store.catalogue.mark_ready(name, ENCODER, MediaFacts(duration_s=60.0))
    for genre, country in GENRES.items():
        for viewer in range(VIEWERS_PER_GENRE):
            seen = rng.choice(PER_GENRE, PER_GENRE // 2, replace=False)
            watch(store, f"{genre}-viewer-{viewer}", [f"{genre}-{number}" for number in seen], country=country)


def add_encoded(store: Store, home: Home, name: str, like: str, published_at: float) -> None:
    """A new video that looks like a known one."""
    table = next(table for table in EmbeddingTable.all(home.embeddings) if table.encoder_id == ENCODER)
    store.catalogue.upsert([Video(id=name, labels=["new"], media_path=f"/{name}.mp4", published_at=published_at)])
    table.append([name], table.matrix[table.rows_of([like])])
    store.catalogue.mark_ready(name, ENCODER, MediaFacts())


def watch(
    store: Store,
    viewer: str,
    videos: list[str],
    event_type: str = "complete",
    country: str | None = None,
    at: float = NOW,
) -> None:
    """Stores one event about each video, the last one the newest."""
    first = store.events.last_seq()
    outcomes = store.events.add(
        [
            Event(event_id=f"e{first + place}", user_id=viewer, video_id=video, type=event_type, country=country,
                  occurred_at=at + place, value=None)
            for place, video in enumerate(videos)
        ]
    )  # fmt: skip
    assert set(outcomes) <= {"accepted"}
