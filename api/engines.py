"""Which engine answers: the one of the served release, swapped between two requests when another is published.

A request keeps the engine that it began with. A release that cannot be loaded is reported and passed over; the
one before it goes on serving.
"""

import logging
import threading
import time

from data.home import Home
from data.store import Store
from recommender.catalogue_view import CatalogueView
from recommender.engine import Engine
from recommender.release import Release, Releases, load_release
from recommender.settings import RecommenderSettings
from recommender.unpublished import unpublished_release

log = logging.getLogger(__name__)

#: A release that could not be loaded is tried again this much later: it may have been repaired.
RETRY_AFTER_S = 5.0


class EngineKeeper:
    def __init__(self, home: Home, store: Store, settings: RecommenderSettings, check_every_s: float) -> None:
        self._store = store
        self._settings = settings
        self._releases = Releases(home.releases)
        self._embeddings = home.embeddings
        self._check_every_s = check_every_s
        self._loading = threading.Lock()
        self._next_check = 0.0
        self._refused: str | None = None
        self._retry_at = 0.0
        self.warnings: list[str] = []
        self._engine = self._first()

    def current(self) -> Engine:
        """The engine for a request that begins now."""
        now = time.monotonic()
        if now >= self._next_check and self._loading.acquire(blocking=False):
            try:
                self._next_check = now + self._check_every_s
                self._swap_if_published()
                self._take_newest_videos()
            finally:
                self._loading.release()
        return self._engine

    def _first(self) -> Engine:
        candidates = [self._releases.current_id(), *(manifest["id"] for manifest in self._releases.list())]
        for release_id in dict.fromkeys(filter(None, candidates)):
            try:
                return self._open(load_release(self._releases.folder(release_id)))
            except Exception as error:
                self._refuse(release_id, error)
        return self._open(unpublished_release(self._store, self._settings))

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

    def _take_newest_videos(self) -> None:
        """Videos that were added or encoded since are recommendable from now on."""
        try:
            if self._store.catalogue.version() != self._engine.view.version:
                self._engine.view.update(self._store)
            self._engine = self._engine.with_newest_videos(self._store.catalogue, self._embeddings)
        except Exception:
            log.exception("the catalogue cannot be read; going on without its newest videos")

    def _open(self, release: Release) -> Engine:
        engine = Engine(release, CatalogueView.load(self._store, release.videos), self._settings)
        try:
            engine = engine.with_newest_videos(self._store.catalogue, self._embeddings)
        except Exception:
            log.exception("the newest videos cannot be read; serving the release without them")
        engine.prepare()
        return engine

    def _refuse(self, release_id: str, error: Exception) -> None:
        self._refused = release_id
        self._retry_at = time.monotonic() + RETRY_AFTER_S
        self.warnings = [f"release {release_id} cannot be loaded and is passed over"]
        log.error("release %s cannot be loaded: %s", release_id, error)
