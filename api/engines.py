"""Which engine answers: the one of the served release, swapped between two requests when another is published, or
when it is known what has changed since.

A request keeps the engine that it began with, and never waits long for the next one: a large release is opened beside
the requests. A release or a pulse that cannot be loaded is reported and passed over;
the one before it goes on serving.
"""

import atexit
import contextlib
import ctypes
import logging
import threading
import time
import weakref

from data.home import Home
from data.store import Store
from recommender.engine import Engine
from recommender.pulse import Pulses
from recommender.release import Release, Releases, load_release
from recommender.settings import RecommenderSettings
from recommender.unpublished import unpublished_release

log = logging.getLogger(__name__)

#: A release that could not be loaded is tried again this much later: it may have been repaired.
RETRY_AFTER_S = 5.0


END_WITHIN_S = 5.0


def _give_back_memory() -> None:
    """What opening an engine took for a moment goes back to the system, where its C library can do that (glibc)."""
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)


def _stop_if_there(keeper: "weakref.ref[EngineKeeper]") -> None:
    found = keeper()
    if found is not None:
        found.stop()


class EngineKeeper:
    def __init__(
        self, home: Home, store: Store, settings: RecommenderSettings, check_every_s: float, wait_s: float = 60.0
    ) -> None:
        """wait_s: how long a request waits at most for what is new."""
        self._store = store
        self._settings = settings
        self._releases = Releases(home.releases)
        self._embeddings = home.embeddings
        self._pulses = Pulses(home.live)
        self._damaged_pulse = ""
        self._check_every_s = check_every_s
        self._wait_s = wait_s
        self._loading = threading.Lock()
        self._next_check = 0.0
        self._refused: str | None = None
        self._retry_at = 0.0
        self.warnings: list[str] = []
        self._looking: threading.Thread | None = None
        atexit.register(_stop_if_there, weakref.ref(self))
        self._engine = self._first()

    def current(self) -> Engine:
        """The engine for a request that begins now."""
        now = time.monotonic()
        if now >= self._next_check and self._loading.acquire(blocking=False):
            self._next_check = now + self._check_every_s
            looking = threading.Thread(target=self._look, name="look-for-releases", daemon=True)
            try:
                looking.start()
            except RuntimeError:
                self._loading.release()
                log.exception("no thread is to be had; going on with what is in memory")
                return self._engine
            self._looking = looking
            looking.join(self._wait_s)
        return self._engine

    def stop(self) -> None:
        """Waits a little for a look that has begun: native code must not run on while the interpreter ends."""
        if self._looking is not None:
            self._looking.join(END_WITHIN_S)

    def _look(self) -> None:
        try:
            # First what the serving engine does not know yet: the next one takes over what this one has.
            self._take_newest_videos()
            self._swap_if_published()
            self._take_newest_videos()
            self._take_pulse()
        except Exception:
            log.exception("what is new cannot be read; going on with what is in memory")
        finally:
            self._loading.release()

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
            self._engine = self._open(load_release(self._releases.folder(published)), self._engine)
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

    def _take_pulse(self) -> None:
        """What has changed since the release was made counts from now on."""
        self._engine = self._with_newest_pulse(self._engine)

    def _with_newest_pulse(self, engine: Engine) -> Engine:
        """This engine, or one that knows a newer pulse of its release."""
        try:
            newer = engine.with_pulse(self._pulses.read(engine.release.id, engine.pulse) or engine.pulse)
            if newer is not engine:
                newer.prepare()
            return newer
        except Exception as error:
            if str(error) != self._damaged_pulse:
                log.error("what has changed since release %s cannot be read: %s", engine.release.id, error)
            self._damaged_pulse = str(error)
            return engine

    def _open(self, release: Release, before: Engine | None = None) -> Engine:
        """before: the engine that it will take the place of, of which it takes over what still holds."""
        engine = Engine(release, release.view(self._store), self._settings)
        engine = self._with_newest_pulse(engine)
        try:
            if before is not None:
                engine = engine.with_vectors_of(before)
            engine = engine.with_missing_vectors(self._embeddings)
            engine = engine.with_newest_videos(self._store.catalogue, self._embeddings)
        except Exception:
            log.exception("the newest videos cannot be read; serving the release without them")
        engine.prepare()
        _give_back_memory()
        return engine

    def _refuse(self, release_id: str, error: Exception) -> None:
        self._refused = release_id
        self._retry_at = time.monotonic() + RETRY_AFTER_S
        self.warnings = [f"release {release_id} cannot be loaded and is passed over"]
        log.error("release %s cannot be loaded: %s", release_id, error)
