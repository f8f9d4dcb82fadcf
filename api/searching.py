"""Searching: by words in what is written of the videos, by words or a file in what is seen of them, or by both.

What is written is looked up in the database (`store.search`), what is seen in the index of the release, with the
encoder that made it. Neither needs the other. Knows nothing of Flask.
"""

import logging
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from api.answer import NO_REASONS, NOBODY, items_of, release_facts
from api.errors import Problem
from api.schemas.search import SearchRequest
from api.settings import SearchSettings
from data.home import Home
from data.store import Store
from embedder.batch import EmbedSettings
from embedder.questions import Encoded, Kind, QuestionEncoder, QuestionError, may_read
from recommender.engine import Engine
from recommender.pipeline.stages import Query, Ranked, Trace
from recommender.popularity import Popularity

log = logging.getLogger(__name__)

TEXT, PIXELS = "text", "pixels"
#: What was written to the catalogue a moment ago is brought into the text index before it is searched, for so long.
CATCH_UP_S = 0.25
#: Hits that are looked up first; where filters leave too few of them, so many times more.
HITS, MORE = 500, 8
MOST_HITS = HITS * MORE**2
#: Between the least and the most popular video of those that fit alike.
POPULARITY = 0.2
#: Of the fusion of two rankings (Cormack, Clarke, Buettcher: Reciprocal Rank Fusion, 2009); words that are written
#: somewhere are surer than what pictures are like.
RRF_K, WRITTEN, SEEN = 60.0, 2.0, 1.0
NOT_LOADED = "what is seen of the videos was not looked into: the encoder is being loaded, ask again in a little while"
BEHIND = "what was added to the catalogue last is not found by its words yet: the text index is catching up"
#: How a file begins, and what it is then.
_PICTURES = ((b"\xff\xd8\xff", 0), (b"\x89PNG\r\n\x1a\n", 0), (b"WEBP", 8))
_STATUS = {"missing": 501, "unsuitable": 409, "unreadable": 422, "busy": 503}
_CODES = {
    "missing": "encoder_missing",
    "unsuitable": "encoder_unsuitable",
    "unreadable": "unreadable_upload",
    "busy": "encoder_busy",
}


@dataclass(frozen=True)
class Hits:
    """Found videos, best first: columns (n,) int64, scores (n,) float32 0..1, and for each the places where it was
    found."""

    columns: np.ndarray
    scores: np.ndarray
    where: list[list[str]]


class Searching:
    """One for each process. Safe to use from many threads."""

    def __init__(
        self,
        settings: SearchSettings,
        embed: EmbedSettings,
        home: Home,
        store: Store,
        current_engine: Callable[[], Engine],
        patient: bool = False,
    ) -> None:
        """patient: a text waits until the encoder is loaded and the text index has caught up."""
        self._settings = settings
        self._store = store
        self._current_engine = current_engine
        self._patient = patient
        self._guard = threading.Lock()
        self._following: threading.Thread | None = None
        self._may_read = may_read(embed.encoder)
        self.encoder = QuestionEncoder(embed, home)

    def search(self, asked: SearchRequest, upload: bytes | None = None) -> dict[str, Any]:
        """As `schemas.search.SearchAnswer` without its request id. Raises Problem."""
        if (asked.text is None) == (upload is None):
            raise Problem(422, "invalid_request", "send either a text or a file to look for", field="text")
        engine = self._current_engine()
        trace = Trace()
        query = Query(
            NOBODY,
            asked.limit,
            time.time(),
            country=asked.country,
            max_rating=asked.max_rating,
            labels=tuple(asked.labels),
            not_labels=tuple(asked.not_labels),
            exclude=engine.columns(asked.exclude),
        )
        if upload is not None:
            if asked.mode == TEXT:
                raise Problem(422, "invalid_request", "mode: a file is looked for by its pixels", field="mode")
            found = {PIXELS: self._nearest(engine, query, self._encoded_file(upload))}
        else:
            found = self._by_text(engine, query, asked, trace)
        hits = _fused(found, asked.limit)
        items = items_of(engine, query, _shown(hits), trace, skip=NO_REASONS)
        for item, where in zip(items, hits.where, strict=True):
            item["sources"] = where
        return {
            "items": items,
            "searched": sorted(found, reverse=True),
            "warnings": trace.warnings,
            "release": release_facts(engine),
        }

    # ---- What is written -----------------------------------------------------------------------------------

    def _by_text(self, engine: Engine, query: Query, asked: SearchRequest, trace: Trace) -> dict[str, Ranked]:
        assert asked.text is not None
        found: dict[str, Ranked] = {}
        if asked.mode != PIXELS:
            found[TEXT] = self._written(engine, query, asked.text, trace)
        if asked.mode == PIXELS or (self._may_read and self._encoder_is_there(trace)):
            try:
                encoded = self.encoder.encode_text(asked.text, self._settings.encode_s)
                found[PIXELS] = self._nearest(engine, query, encoded)
            except (Problem, QuestionError) as error:
                if asked.mode == PIXELS:
                    raise _as_problem(error) from error
                trace.warnings.append(f"what is seen of the videos was not looked into: {error}")
        return found

    def _encoder_is_there(self, trace: Trace) -> bool:
        """Whether nobody has to wait for the encoder; says so where one would."""
        loaded = self._patient or self.encoder.is_loaded
        if not loaded:
            trace.warnings.append(NOT_LOADED)
        return loaded

    def _written(self, engine: Engine, query: Query, text: str, trace: Trace) -> Ranked:
        if not self._is_up_to_date():
            trace.warnings.append(BEHIND)
        showable = engine.showable(query)
        wanted = HITS
        while True:
            numbers, fits = self._store.search.find(text, wanted)
            columns = engine.view.columns_of_numbers(numbers)
            here = np.flatnonzero((columns >= 0) & showable[columns])
            if len(here) >= query.limit or len(numbers) < wanted or wanted >= MOST_HITS:
                break
            wanted *= MORE
        columns = columns[here]
        scores = fits[here] * (1 - POPULARITY + POPULARITY * _popularity(engine, columns))
        order = np.argsort(-scores, kind="stable")
        return _ranked(columns[order], scores[order])

    def _is_up_to_date(self) -> bool:
        """Whether the text index knows all of the catalogue. What is missing comes in by a thread of its own, which
        may have to wait for other writers. A request waits a moment for it."""
        if self._store.search.is_current():
            return True
        with self._guard:
            if self._following is None or not self._following.is_alive():
                self._following = threading.Thread(target=self._follow, name="text-index", daemon=True)
                self._following.start()
            following = self._following
        following.join(None if self._patient else CATCH_UP_S)
        return self._store.search.is_current()

    def _follow(self) -> None:
        try:
            self._store.search.catch_up()
        except Exception:
            log.exception("the text index cannot be brought up to date")

    # ---- What is seen --------------------------------------------------------------------------------------

    def _encoded_file(self, upload: bytes) -> Encoded:
        if not upload:
            raise Problem(422, "unreadable_upload", "the file has no bytes", field="file")
        with tempfile.NamedTemporaryFile(prefix="watchnext-search-") as file:
            file.write(upload)
            file.flush()
            try:
                return self.encoder.encode_file(Path(file.name), _kind_of(upload), self._settings.encode_s)
            except QuestionError as error:
                raise _as_problem(error) from error

    def _nearest(self, engine: Engine, query: Query, encoded: Encoded) -> Ranked:
        served = engine.release.manifest["encoder"]
        if encoded.encoder_id != served:
            detail = (
                f"the served release was made with {served}, not with {encoded.encoder_id}; run `watchnext embed` and"
                " `watchnext refresh`"
            )
            raise Problem(409, "encoder_not_served", detail)
        return engine.nearest(encoded.vector, query)


def _kind_of(upload: bytes) -> Kind:
    return "picture" if any(upload.startswith(magic, start) for magic, start in _PICTURES) else "clip"


def _as_problem(error: Problem | QuestionError) -> Problem:
    if isinstance(error, Problem):
        return error
    headers = {"Retry-After": "5"} if error.trouble == "busy" else {}
    more = {"field": "file"} if error.trouble == "unreadable" else {}
    return Problem(_STATUS[error.trouble], _CODES[error.trouble], str(error), headers, **more)


def _popularity(engine: Engine, columns: np.ndarray) -> np.ndarray:
    """(n,) float32 0..1: of the most popular one of these videos (n,) 1."""
    decayed = engine.popularity.world[Popularity.DECAYED]
    known = columns < len(decayed)
    sums = np.zeros(len(columns), np.float32)
    sums[known] = np.log1p(np.maximum(decayed[columns[known]], 0))
    return sums / max(float(sums.max(initial=0)), 1e-12)


def _ranked(columns: np.ndarray, scores: np.ndarray) -> Ranked:
    return Ranked(columns, scores.astype(np.float32), np.zeros(len(columns), np.uint32))


def _fused(found: dict[str, Ranked], limit: int) -> Hits:
    """One list of the lists by where their videos were found."""
    (name, alone), *others = found.items()
    if not others:
        best = alone.take(np.arange(min(limit, len(alone))))
        return Hits(best.columns, best.scores, [[name]] * len(best))
    score: dict[int, float] = {}
    where: dict[int, list[str]] = {}
    for name, ranked in found.items():
        weight = WRITTEN if name == TEXT else SEEN
        for rank, column in enumerate(ranked.columns.tolist(), start=1):
            score[column] = score.get(column, 0.0) + weight * (RRF_K + 1) / (RRF_K + rank) / (WRITTEN + SEEN)
            where.setdefault(column, []).append(name)
    best_first = sorted(score, key=lambda column: -score[column])[:limit]
    scores = np.array([score[column] for column in best_first], np.float32)
    return Hits(np.array(best_first, np.int64), scores, [where[column] for column in best_first])


def _shown(hits: Hits) -> Ranked:
    return _ranked(hits.columns, hits.scores)
