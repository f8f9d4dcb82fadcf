"""Which engine answers: the one of the served release, swapped between two requests when another is published.

A request keeps the engine that it began with. A release that cannot be loaded is reported and passed over; the
one before it goes on serving.
"""

import logging
import threading
import time

import numpy as np

from data.files import CorruptFileError
from data.home import Home
from data.store import Store
from recommender.catalogue_view import CatalogueView
from recommender.engine import Engine
from recommender.refresh import unpublished_release
from recommender.release import Release, ReleaseError, Releases, load_release
from recommender.settings import RecommenderSettings

log = logging.getLogger(__name__)

REMEMBERED_RELEASES = 4


class EngineKeeper:
    def __init__(self, home: Home, store: Store, settings: RecommenderSettings, check_every_s: float) -> None:
        self._store = store
        self._settings = settings
        self._releases = Releases(home.releases)
        self._check_every_s = check_every_s
        self._loading = threading.Lock()
        self._next_check = 0.0
        self._refused: str | None = None
        self._videos: dict[str, list[str]] = {}
        self.warnings: list[str] = []
        self._engine = self._first()

    def current(self) -> Engine:
        """The engine for a request that begins now."""
        now = time.monotonic()
        if now >= self._next_check and self._loading.acquire(blocking=False):
            try:
                self._next_check = now + self._check_every_s
                self._swap_if_published()
            finally:
                self._loading.release()
        return self._engine

    def columns_of(self, release_id: str, columns: np.ndarray, engine: Engine) -> np.ndarray | None:
        """Columns of a release as columns of `engine`'s, -1 where a video is gone; None for a release unknown here."""
        if release_id == engine.release.id:
            return columns
        videos = self._videos.get(release_id)
        if videos is None or (len(columns) and columns.max() >= len(videos)):
            return None
        return np.array([engine.column_of.get(videos[column], -1) for column in columns], np.int64)

    def _first(self) -> Engine:
        candidates = [self._releases.current_id(), *(manifest["id"] for manifest in self._releases.list())]
        for release_id in dict.fromkeys(filter(None, candidates)):
            try:
                return self._open(load_release(self._releases.folder(release_id)))
            except (CorruptFileError, ReleaseError, OSError, ValueError, KeyError) as error:
                self._refuse(release_id, error)
        return self._open(unpublished_release(self._store, self._settings))

    def _swap_if_published(self) -> None:
        published = self._releases.current_id()
        if published is None or published in (self._engine.release.id, self._refused):
            return
        try:
            self._engine = self._open(load_release(self._releases.folder(published)))
            self.warnings = []
            log.info("now serving release %s", published)
        except (CorruptFileError, ReleaseError, OSError, ValueError, KeyError) as error:
            self._refuse(published, error)

    def _open(self, release: Release) -> Engine:
        engine = Engine(release, CatalogueView.load(self._store.catalogue, release.videos), self._settings)
        self._videos[release.id] = release.videos
        while len(self._videos) > REMEMBERED_RELEASES:
            self._videos.pop(next(iter(self._videos)))
        return engine

    def _refuse(self, release_id: str, error: Exception) -> None:
        self._refused = release_id
        self.warnings = [f"release {release_id} cannot be loaded and is passed over"]
        log.error("release %s cannot be loaded: %s", release_id, error)
