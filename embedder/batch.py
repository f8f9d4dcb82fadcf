"""The encoder's work: takes videos from the catalogue's queue until none is left.

    claim -> hash -> [same bytes known? copy] -> decode (worker processes) -> encode -> table -> ready

Several runs may share one catalogue and one table. A run may be killed at any moment: what is written stays, the
rest is claimed again. The order of writing makes it so:

1. the origin of each vector (`contents`), 2. the vector (table), 3. the state `ready` (catalogue).

A crash after 1 leaves a line that names no vector of the table, and is ignored. A crash after 2 leaves a pending
video whose bytes are known: the next run marks it ready without decoding it. A file that fails costs itself: the
catalogue gets the reason. Knows nothing of indexes or HTTP.
"""

import hashlib
import logging
import shutil
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from data.embeddings import EmbeddingTable
from data.files import replacing, sha256_of
from data.home import Home
from data.progress import Advance, progress
from data.schema import MediaFacts, Video, VideoRecord, VideoState
from data.store import Store
from embedder.claims import claiming
from embedder.contents import Known, KnownContents, Origin, checksum, record_origins
from embedder.decode_settings import DecodeSettings
from embedder.encoders import Encoder, EncoderSettings, load_encoder
from embedder.encoding import encode_each
from embedder.isolation import DecodePool
from embedder.labels import LabelHead, LabelSettings
from embedder.machine import usable_cores
from embedder.media import Clip, MediaError, Reason, Wanted, require_regular_file
from embedder.thumbnails import thumbnail_path, write_thumbnail

log = logging.getLogger(__name__)

#: Encoded videos are written at least this often, so that a crash costs seconds of work.
WRITE_AFTER_S = 10.0
#: Processes that decode on a GPU: each holds some hundred MB of its memory before the first picture.
MOST_ON_A_GPU = 8


class EmbedSettings(BaseModel):
    """How much of the machine the work may use."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    encoder: EncoderSettings = EncoderSettings()
    decode: DecodeSettings = DecodeSettings()
    workers: int = Field(
        default=0,
        ge=0,
        le=256,
        description="processes that decode; 0: one for two cores, beside an encoder on CUDA all cores but one, "
        "where the GPU decodes 8 at most",
    )
    ahead: int = Field(default=4, ge=1, description="videos per worker that are decoded ahead of the encoder")
    batch: int = Field(default=16, ge=1, description="videos that are encoded in one call at most")
    write_every: int = Field(default=32, ge=1, description="videos per block of the embedding table")
    time_limit_s: float = Field(default=60.0, gt=0, description="seconds that decoding one file may take")
    memory_limit_mb: int = Field(default=1536, ge=64, description="MiB that decoding one file may take")
    max_file_gb: float = Field(
        default=256.0, gt=0, description="larger files are refused: every byte of a file is read once, for its checksum"
    )
    lease_s: float = Field(default=60.0, ge=1, description="seconds a claim holds unless it is renewed")

    def decode_workers(self, encoder: Encoder) -> int:
        """How many processes decode for an encoder: those that are asked for, or what suits where it runs."""
        if self.workers:
            return self.workers
        cores = usable_cores()
        suited = max(1, cores - 1 if "cuda" in encoder.device else cores // 2)
        return min(suited, MOST_ON_A_GPU) if encoder.wants.decoder == "torchcodec-cuda" else suited


@dataclass
class EmbedReport:
    """What a run did, in videos. `reused`: ready without encoding, because the same bytes had been encoded before.
    `failed`: by reason; `retried_later` of them are tried again by a later run."""

    encoder_id: str
    licence: str  # of the encoder's weights
    encoded: int = 0
    reused: int = 0
    failed: Counter[Reason] = field(default_factory=Counter)
    retried_later: int = 0
    seconds: float = 0.0

    @property
    def videos_per_s(self) -> float:
        return (self.encoded + self.reused) / self.seconds if self.seconds else 0.0


def embed(
    store: Store,
    home: Home,
    settings: EmbedSettings | None = None,
    encoder: Encoder | None = None,
    stop: threading.Event | None = None,
    labels: LabelSettings | None = None,
    pause_s: float = 0.0,
) -> EmbedReport:
    """Encodes every video that waits for it, or until `stop` is set; returns what was done.

    A video that failed for now may be claimed again `pause_s` later, and four times as much later after its second
    attempt. Where labels were learnt on this encoder, each new video gets its own at once.

    Paths in the catalogue that are not absolute are below `home.media`. On Ctrl-C what is encoded is written, the
    rest is given back, and KeyboardInterrupt goes on. Raises WorkerStartError when decoding is impossible here.
    """
    settings = settings or EmbedSettings()
    encoder = encoder or load_encoder(settings.encoder, home, settings.decode)
    started = time.monotonic()
    _ask_for_lost_vectors(store, home, encoder)
    waiting = store.catalogue.count_to_encode(encoder.id)
    workers = settings.decode_workers(encoder)
    with (
        claiming(home, store.catalogue, settings.lease_s) as owner,
        ThreadPoolExecutor(workers, thread_name_prefix="decode") as threads,
        DecodePool(
            workers, settings.time_limit_s, settings.memory_limit_mb, settings.decode, encoder.wants.decoder
        ) as pool,
        progress("embed", waiting, "videos") as advance,
    ):
        run = _Run(store, home, settings, encoder, owner, pool, threads, advance, labels or LabelSettings(), pause_s)
        try:
            run.drain(stop or threading.Event())
        finally:
            run.give_up()
            run.write()
        run.settle()
    run.report.seconds = time.monotonic() - started
    return run.report


def _ask_for_lost_vectors(store: Store, home: Home, encoder: Encoder) -> None:
    """Ready videos wait again when their vector is not in the table (it was lost or restored from an older copy), or
    was made from another text than they have now."""
    # In this order: a vector is in the table before its video is ready, so another run's is not taken for lost.
    encoded = store.catalogue.encoded_ids(encoder.id)
    table = EmbeddingTable.create(home.embeddings, encoder.id, encoder.dim)
    lost = sorted(set(encoded) - set(table.ids))
    if lost:
        log.warning("%d videos have lost their vectors and are encoded again", len(lost))
    again = lost + (_with_another_text(store, encoder, KnownContents(table)) if encoder.wants.text else [])
    if again:
        store.catalogue.encode_again(again)


def _with_another_text(store: Store, encoder: Encoder, contents: KnownContents) -> list[str]:
    def has_changed(record: VideoRecord) -> bool:
        origin = contents.newest(record.id)
        if record.encoder_id != encoder.id or origin is None or record.content_hash is None:
            return False
        return origin.content != what_is_encoded(record.content_hash, record, encoder.wants)

    return [record.id for record in store.catalogue.all(VideoState.READY) if has_changed(record)]


@dataclass(frozen=True)
class _Decoded:
    content: str
    file: str
    clip: Clip
    facts: MediaFacts


@dataclass(frozen=True)
class _Reused:
    """The vector of `known`, which was made of the same."""

    content: str
    file: str
    known: Known


@dataclass(frozen=True)
class _Twin:
    """The same is being encoded for another video; its vector is copied when it is written."""

    content: str
    file: str


@dataclass(frozen=True)
class _Finished:
    record: VideoRecord
    origin: Origin
    vector: np.ndarray | None  # None: the table holds it already
    facts: MediaFacts
    reused: bool = False


class _Run:
    def __init__(
        self,
        store: Store,
        home: Home,
        settings: EmbedSettings,
        encoder: Encoder,
        owner: str,
        pool: DecodePool,
        threads: ThreadPoolExecutor,
        advance: Advance,
        labels: LabelSettings,
        pause_s: float,
    ) -> None:
        self._pause_s = pause_s
        self.report = EmbedReport(encoder.id, encoder.licence)
        self._catalogue = store.catalogue
        self._home = home
        self._settings = settings
        self._encoder = encoder
        self._owner = owner
        self._pool = pool
        self._threads = threads
        self._advance = advance
        self._labels = labels
        self._head = _trained_head(home, encoder.id)
        self._table = EmbeddingTable.create(home.embeddings, encoder.id, encoder.dim)
        self._known = KnownContents(self._table)
        self._others = [
            (table, KnownContents(table))
            for table in EmbeddingTable.all(home.embeddings)
            if table.encoder_id != encoder.id
        ]
        self._futures: dict[Future[_Decoded | _Reused | _Twin], VideoRecord] = {}
        self._finished: list[_Finished] = []
        self._twins: list[tuple[VideoRecord, _Twin]] = []
        self._transient: list[tuple[VideoRecord, MediaError]] = []
        self._refused: dict[str, MediaError] = {}  # by content
        self._lock = threading.Lock()
        self._leaders: dict[str, str] = {}  # content -> id of the video it is encoded for in this run
        self._written = time.monotonic()
        self._over = False

    # ---- The loop ------------------------------------------------------------------------------------------

    def drain(self, stop: threading.Event) -> None:
        claimed: list[VideoRecord] = []
        ahead = self._settings.decode_workers(self._encoder) * self._settings.ahead
        lease_s = self._settings.lease_s
        while True:
            while len(self._futures) < ahead and not stop.is_set():
                claimed = claimed or self._catalogue.claim(self._owner, ahead, lease_s, self._encoder.id)
                if not claimed:
                    break
                record = claimed.pop(0)
                self._futures[self._threads.submit(self._prepare, record)] = record
            if not self._futures:
                return
            done, _ = wait(self._futures, timeout=1.0, return_when=FIRST_COMPLETED)
            self._take([(self._futures.pop(future), future) for future in done])
            if len(self._finished) >= self._settings.write_every or time.monotonic() - self._written > WRITE_AFTER_S:
                self.write()

    def give_up(self) -> None:
        """Ends what is still being decoded (nothing is, unless the loop was interrupted)."""
        self._over = True
        for future in self._futures:
            future.cancel()
        self._pool.close()

    def settle(self) -> None:
        """The end of a run: twins get their vectors, and what failed for now waits for another run (had it been
        given back before, this run would have claimed it again)."""
        self._known = KnownContents(self._table)
        for record, twin in self._twins:
            known = self._known.find(twin.content)
            if known is not None:
                self._reuse(record, _Reused(twin.content, twin.file, known))
            elif twin.content in self._refused:
                self._fail(record, self._refused[twin.content])
        self.write()
        for record, error in self._transient:
            self._mark_failed(record, error)

    # ---- One video, in a thread ----------------------------------------------------------------------------

    def _prepare(self, record: VideoRecord) -> _Decoded | _Reused | _Twin:
        path = self._home.media / (record.media_path or "")
        before = _state_of(path)
        file = self._content_of(path)
        if file != record.content_hash:
            self._catalogue.note_content(record.id, file)
        content = what_is_encoded(file, record, self._encoder.wants)
        with self._lock:
            known = self._find(content, file, record.id)
            if known is not None:
                return _Reused(content, file, known)
            if self._leaders.setdefault(content, record.id) != record.id:
                return _Twin(content, file)
        try:
            clip, facts = self._seen(path, record)
            if _state_of(path) != before:
                raise MediaError(Reason.CHANGED, "the file was written to while it was read")
        except (MediaError, RuntimeError) as error:
            if isinstance(error, MediaError):
                self._refused[content] = error
            raise
        except Exception as error:  # one video never stops a run
            log.exception("%s", record.id)
            raise MediaError(Reason.CRASHED, f"reading it raised {error!r}") from error
        return _Decoded(content, file, clip, facts)

    def _content_of(self, path: Path) -> str:
        require_regular_file(path)
        limit = self._settings.max_file_gb
        if path.stat().st_size > limit * 1e9:
            raise MediaError(Reason.TOO_LARGE, f"a file of {path.stat().st_size / 1e9:.1f} GB, more than {limit:g}")
        try:
            return sha256_of(path, stop=lambda: self._over)
        except OSError as error:
            raise MediaError(Reason.NOT_READABLE, error.strerror or str(error)) from error

    def _seen(self, path: Path, record: VideoRecord) -> tuple[Clip, MediaFacts]:
        wants = self._encoder.wants
        text = text_of(record) if wants.text else ""
        if not wants.media:
            if not text:
                raise MediaError(Reason.NO_TEXT, "it has no title, description or tags")
            return Clip(text=text), MediaFacts()
        try:
            sample = self._pool.read(path, wants)
        except MediaError as error:
            if text and error.reason in (Reason.NO_VIDEO_TRACK, Reason.NO_SOUND):  # what is written of it is left
                return Clip(text=text), MediaFacts()
            raise
        clip = Clip(sample.frames, sample.following, sample.sound, text)
        if sample.frames is None:
            return clip, MediaFacts(duration_s=sample.info.duration_s)
        thumbnail = write_thumbnail(self._home, record.id, sample.frames)
        return clip, MediaFacts(
            sample.info.duration_s, self._relative(thumbnail), sample.decoded, sample.distinct, sample.quality.value
        )

    def _find(self, content: str, file: str, video_id: str) -> Known | None:
        known = self._known.find(content, prefer=video_id)
        if (
            known is None
            and self._catalogue.encoded_twin(file, self._encoder.id) is not None
            and not self._known.is_current()
        ):
            # Another run may have encoded the same since this one began.
            self._known = KnownContents(self._table)
            known = self._known.find(content, prefer=video_id)
        return known

    def _relative(self, path: Path) -> str:
        return str(path.relative_to(self._home.root))

    # ---- Results -------------------------------------------------------------------------------------------

    def _take(self, done: Sequence[tuple[VideoRecord, Future[_Decoded | _Reused | _Twin]]]) -> None:
        decoded: list[tuple[VideoRecord, _Decoded]] = []
        for record, future in done:
            try:
                result = future.result()
            except MediaError as error:
                self._fail(record, error)
                continue
            match result:
                case _Decoded():
                    decoded.append((record, result))
                case _Reused():
                    self._reuse(record, result)
                case _Twin():
                    self._twins.append((record, result))
        for start in range(0, len(decoded), self._settings.batch):
            self._encode(decoded[start : start + self._settings.batch])

    def _encode(self, decoded: Sequence[tuple[VideoRecord, _Decoded]]) -> None:
        vectors = encode_each(self._encoder, [one.clip for _, one in decoded])
        for (record, one), vector in zip(decoded, vectors, strict=True):
            if isinstance(vector, MediaError):
                self._refused[one.content] = vector
                self._fail(record, vector)
                continue
            origin = Origin(record.id, one.content, one.facts.duration_s, checksum(vector), one.file)
            self._finished.append(_Finished(record, origin, vector, one.facts))

    def _reuse(self, record: VideoRecord, reused: _Reused) -> None:
        known = reused.known
        origin = Origin(record.id, reused.content, known.duration_s, checksum(known.vector), reused.file)
        vector = None if known.id == record.id else known.vector
        self._finished.append(_Finished(record, origin, vector, self._copied_facts(record, known), reused=True))

    def _copied_facts(self, record: VideoRecord, known: Known) -> MediaFacts:
        own, source = thumbnail_path(self._home, record.id), thumbnail_path(self._home, known.id)
        if own != source and source.exists():
            with source.open("rb") as old, replacing(own) as new:
                shutil.copyfileobj(old, new)
        thumbnail = self._relative(own) if own.exists() else None
        twin = self._catalogue.get(known.id)
        if twin is None:
            return MediaFacts(known.duration_s, thumbnail)
        return MediaFacts(known.duration_s, thumbnail, twin.frames_decoded, twin.distinct_share, twin.quality)

    def _fail(self, record: VideoRecord, error: MediaError) -> None:
        self.report.failed[error.reason] += 1
        if error.reason.transient:
            self._transient.append((record, error))
            self.report.retried_later += 1
        else:
            self._mark_failed(record, error)
        self._advance(1)

    def _mark_failed(self, record: VideoRecord, error: MediaError) -> None:
        log.warning("%s gives no embedding: %s", record.id, error)
        self._catalogue.mark_failed(
            record.id,
            str(error),
            self._encoder.id,
            retry=error.reason.transient,
            owner=self._owner,
            pause_s=self._pause_s,
        )

    def write(self) -> None:
        """Makes durable what is encoded: origins, vectors, states, in this order."""
        self._drop_outdated_elsewhere()
        new = [(finished.origin, finished.vector) for finished in self._finished if finished.vector is not None]
        if new:
            record_origins(self._table.folder, [origin for origin, _ in new])
            self._table.append([origin.id for origin, _ in new], np.stack([vector for _, vector in new]))
        if self._head is not None and new:
            predicted = self._head.predict(
                np.stack([vector for _, vector in new]), self._labels.threshold, self._labels.top
            )
            self._catalogue.set_predicted_labels(
                {origin.id: labels for (origin, _), labels in zip(new, predicted, strict=True)}
            )
        for finished in self._finished:
            if self._catalogue.mark_ready(finished.record.id, self._encoder.id, finished.facts, owner=self._owner):
                self.report.encoded += not finished.reused
                self.report.reused += finished.reused
        self._advance(len(self._finished))
        self._finished.clear()
        self._written = time.monotonic()

    def _drop_outdated_elsewhere(self) -> None:
        """What other encoders made of files that have changed since must not be served for the new ones."""
        now = {one.record.id: one.origin.file or one.origin.content for one in self._finished}
        for table, contents in self._others:
            origins = [origin for name in now if (origin := contents.newest(name)) is not None]
            outdated = [origin.id for origin in origins if (origin.file or origin.content) != now[origin.id]]
            if outdated:
                table.remove(outdated)


def text_of(video: Video) -> str:
    """What an encoder reads of a video: title, description and tags; "" where it has none."""
    return "\n".join(filter(None, [video.title.strip(), video.description.strip(), ", ".join(video.tags)]))


def what_is_encoded(file: str, video: Video, wants: Wanted) -> str:
    """A checksum of all that a video's vector depends on: its file (SHA-256) and, if it is read, its text."""
    return hashlib.sha256(f"{file}\n{text_of(video)}".encode()).hexdigest() if wants.text else file


def _trained_head(home: Home, encoder_id: str) -> LabelHead | None:
    try:
        return LabelHead.load(home, encoder_id)
    except FileNotFoundError:
        return None


def _state_of(path: Path) -> tuple[int, ...]:
    """What changes with a file's bytes, as far as the file system tells; () when there is none."""
    try:
        status = path.stat()
    except OSError:
        return ()
    return status.st_ino, status.st_size, status.st_mtime_ns
