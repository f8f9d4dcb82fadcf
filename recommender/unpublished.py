"""What a service answers from that has no release yet: the bare catalogue, and what is popular in it."""

import hashlib
import time

import numpy as np
import orjson

from data.interactions import load_interactions
from data.store import Store
from recommender.index import VectorIndex
from recommender.popularity import measure_popularity
from recommender.release import NO_ENCODER, Release
from recommender.settings import RecommenderSettings
from recommender.strings import StringTable


def unpublished_release(store: Store, settings: RecommenderSettings) -> Release:
    """A release in memory for a service that has none yet: the catalogue, and what is popular in it."""
    videos = store.catalogue.ids(removed=False)
    interactions = load_interactions(store).in_columns(videos)
    # Bare catalogues differ, and what is cached or paged for one must not be read with the columns of another.
    name = "none-" + hashlib.sha256(orjson.dumps(videos)).hexdigest()[:8]
    return Release(
        id=name,
        manifest={
            "id": name,
            "created_at": time.time(),
            "encoder": NO_ENCODER,
            "index": "none",
            "collaborative": "none",
        },
        videos=StringTable.of(videos),
        index=VectorIndex.build(np.zeros((0, 1), np.float32), np.zeros(0, np.int64)),
        popularity=measure_popularity(interactions, time.time(), settings.popularity),
        viewers=interactions.audience(),
    )
