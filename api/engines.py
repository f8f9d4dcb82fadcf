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
from recommender.release import Release, ReleaseError, Releases, load_release, read_videos
from recommender.settings import RecommenderSettings

log = logging.getLogger(__name__)

REMEMBERED_RELEASES = 4
#: A release that could not be loaded is tried again this much later: it may have been repaired.
RETRY_AFTER_S = 5.0


class EngineKeeper:
    def __init__(self, home: Home, store: Store, settings: RecommenderSettings, check_every_s: float) -> None:
        self._store = store
        self._settings = settings
        self._releases = Releases(home.releases)
        self._check_every_s = check_every_s
        self._loading = threading.Lock()
        self._next_check = 0.0
        self._refused: str | None = None
        self._retry_at = 0.0
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
        videos = engine.videos if release_id == engine.release.id else self._videos_of(release_id)
        if videos is None or (len(columns) and columns.max() >= len(videos)):
            return None
        if release_id == engine.release.id:
            return columns
        return np.array([engine.column_of.get(videos[column], -1) for column in columns], np.int64)

    def _first(self) -> Engine:
        candidates = [self._releases.current_id(), *(manifest["id"] for manifest in self._releases.list())]
        for release_id in dict.fromkeys(filter(None, candidates)):
            try:
                return self._open(load_release(self._releases.folder(release_id)))
            except Exception as error:
                self._refuse(release_id, error)
        return self._open(unpublished_release(self._store, self._settings))

    def _videos_of(self, release_id: str) -> list[str] | None:
        if release_id not in self._videos:
            try:
                self._remember(release_id, read_videos(self._releases.folder(release_id)))
            except (CorruptFileError, ReleaseError, OSError):
                return None
        return self._videos[release_id]

    def _remember(self, release_id: str, videos: list[str]) -> None:
        self._videos[release_id] = videos
        while len(self._videos) > REMEMBERED_RELEASES:
            self._videos.pop(next(iter(self._videos)))

    def _swap_if_published(self) -> None:
        published = self._releases.current_id()
        if published is None:
            return
        if published == self._engine.release.id:
            self.warnings = []
            return
        if published == self._refused and time.monotonic() < self._retry_at:
            return
        try:
            self._engine = self._open(load_release(self._releases.folder(published)))
            self.warnings = []
            log.info("now serving release %s", published)
        except Exception as error:
            self._refuse(published, error)

    def _open(self, release: Release) -> Engine:
        engine = Engine(release, CatalogueView.load(self._store.catalogue, release.videos), self._settings)
        self._remember(release.id, release.videos)
        return engine

    def _refuse(self, release_id: str, error: Exception) -> None:
        self._refused = release_id
        self._retry_at = time.monotonic() + RETRY_AFTER_S
        self.warnings = [f"release {release_id} cannot be loaded and is passed over"]
        log.error("release %s cannot be loaded: %s", release_id, error)
