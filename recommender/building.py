"""A release in the making: what each phase of a refresh writes into its folder, and what the gates ask of it.

Much begins with the running release: factors with its factors, the index with its cells, the ranker with its ranker for
a day. Knows nothing of locks, of interrupted runs and of publishing.
"""

import logging
import shutil
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from data.embeddings import EmbeddingTable
from data.files import CorruptFileError
from data.home import Home
from data.interactions import Interactions, load_interactions
from data.store import Store
from recommender import release as parts
from recommender.catalogue_view import CatalogueView
from recommender.cold_start import fit_cold_start
from recommender.collaborative import LatentFactors
from recommender.engine import FEATURES, Engine
from recommender.fitting import FITS, QUICK, fit_model
from recommender.gates import Comparison, Failure, Gate, compare, held_back, quality_failures, size_failures
from recommender.index import VectorIndex, recall
from recommender.live_index import LiveIndex
from recommender.pipeline.sources.history import SPARSE_FROM
from recommender.policy.looks import compact_looks
from recommender.popularity import measure_popularity
from recommender.ranking.exposures import shown_requests
from recommender.ranking.ranker import PastRequests, train_ranker
from recommender.ranking.windows import most_requests, past_requests, rolling_windows
from recommender.release import NO_ENCODER, Release
from recommender.settings import RecommenderSettings
from recommender.strings import StringTable

log = logging.getLogger(__name__)

#: How long releases keep the cells of the index of factors.
FACTOR_CELLS_HOURS = 24.0
#: How many queries the recall of an index is measured with, and among how many neighbours.
ASKED, RECALL_AT = 200, 100


class RefreshError(RuntimeError):
    """Nothing was published: another refresh runs, there is nothing to build from, or not enough room to build in."""


class GateError(RefreshError):
    """The built release did not pass a gate; the message names the number that failed."""

    def __init__(self, failures: Sequence[Failure]) -> None:
        super().__init__("; ".join(map(str, failures)))
        self.failures = list(failures)


class Building:
    """A folder that becomes a release, phase by phase, from what was known when its run began."""

    def __init__(
        self,
        store: Store,
        home: Home,
        settings: RecommenderSettings,
        accept: Collection[Gate],
        folder: Path,
        state: dict[str, Any],
        table: EmbeddingTable | None,
        running: Release | None,
    ) -> None:
        """state: what the phases find out, to be kept by the caller between them; table: whose vectors are served;
        running: the release that is served meanwhile, where it can be read."""
        self._store = store
        self._home = home
        self._settings = settings
        self._accept = accept
        self._folder = folder
        self._state = state
        self._table = table
        self._running = running

    def phases(self) -> list[tuple[str, Callable[[], None]]]:
        """What is done one after the other, by name. Each raises GateError, or RefreshError, where it must not go on;
        what one has written is there for the next, in another process too."""
        return [
            ("catalogue", self._write_videos),
            ("events", self._read_events),
            *((name.replace("_", " "), partial(self._write_model, name)) for name in FITS),
            ("popularity", self._write_popularity),
            ("index", self._write_index),
            ("cold start", self._write_cold_start),
            ("ranker", self._write_ranker),
            ("view", self._write_view),
            ("gates", self._pass_gates),
        ]

    def facts(self) -> dict[str, Any]:
        """What the manifest says of a release whose phases are done."""
        index = self._built_index
        return {
            "id": self._state["id"],
            "created_at": time.time(),
            "encoder": self._state["inputs"]["encoder"],
            "index": index.description,
            "collaborative": "+".join(self._state["models"]) or "none",
            "counts": {"videos": len(self._videos), "embeddings": len(index), **self._state["counts"]},
            "until_seq": self._state["until_seq"],
            "newest_event_at": self._state.get("newest_event_at"),
            **self._state["inputs"],
            "gates": self._state["gates"],
            "accepted": self._state["accepted"],
            "cold_start": self._state["cold_start"],
            "ranker": self._state["ranker"],
            "factor_cells": self._state.get("factor_cells"),
            "held_back": self._state["held_back"],
            "seconds": self._state["seconds"],
            "memory_estimated": self._state["memory_estimated"],
        }

    # ---- The phases ----------------------------------------------------------------------------------------

    def _write_videos(self) -> None:
        videos = self._store.catalogue.ids(removed=False)
        if not videos:
            raise RefreshError("the catalogue is empty; add videos first (`watchnext videos add FOLDER`)")
        parts.write_videos(self._folder, videos)

    def _read_events(self) -> None:
        self._state["held_back"] = self._share_held_back
        self._state["counts"] = {
            "viewers": len(np.unique(self._everybody.viewer)),
            "interactions": int((self._everybody.signal > 0).sum()),
        }

    def _write_model(self, name: str) -> None:
        try:
            start = self._factors_so_far() if name == "collaborative" else None
            model = fit_model(name, self._interactions, self._settings, self._folder / f".{name}", start)
        except ArithmeticError as error:
            raise GateError([Failure("finite", str(error))]) from error
        shutil.rmtree(self._folder / f".{name}", ignore_errors=True)
        if model is not None:
            parts.write_model(self._folder, name, model)
            self._state["models"].append(name)
        if isinstance(model, LatentFactors) and len(model.items) >= SPARSE_FROM:
            met = model.met
            viewers = _some_viewers(model, self._interactions)
            # Factors move with every fit: after a day cells are trained anew.
            young = self._young_part_of_running("factor_cells", FACTOR_CELLS_HOURS) if start is not None else None
            before = self._running.factor_index if self._running is not None and young is not None else None
            parts.write_factor_index(self._folder, self._index_of(model.items[met], met, viewers, before))
            self._state["factor_cells"] = young if before is not None else {"trained_at": time.time()}

    def _factors_so_far(self) -> np.ndarray | None:
        """The factors (V, F) of the running release in the columns of this one, 0 for videos that it does not know."""
        factors = self._running.models.get("collaborative") if self._running else None
        if self._running is None or not isinstance(factors, LatentFactors) or self._running_knows_held_back:
            return None
        column_there = self._running.videos.place_of
        there = np.fromiter((column_there.get(name, -1) for name in self._videos), np.int64, len(self._videos))
        return np.where((there >= 0)[:, None], factors.items[there], np.float32(0))

    def _write_popularity(self) -> None:
        interactions = self._interactions
        # Popularity is decayed to the newest event's time, but never to the future.
        newest = min(float(interactions.time.max(initial=0.0)), time.time())
        parts.write_popularity(
            self._folder,
            measure_popularity(interactions, newest, self._settings.popularity),
            interactions.audience(),
        )
        self._state["newest_event_at"] = newest if len(interactions.time) else None

    def _write_index(self) -> None:
        if self._table is not None:
            try:
                self._table.verify()
            except CorruptFileError as error:
                raise GateError([Failure("checksums", str(error))]) from error
        self._refuse_lost_embeddings()
        index = self._built_index
        parts.write_index(self._folder, index)
        if self._vectors is not None:
            parts.write_looks(self._folder, compact_looks(index.ids, self._vectors, len(self._videos)))

    def _refuse_lost_embeddings(self) -> None:
        """Videos that count as encoded must have their vectors, or a lost folder would silently empty the lists."""
        encoder = self._state["inputs"]["encoder"]
        encoded = self._store.catalogue.encoded_ids(None if encoder == NO_ENCODER else encoder)
        here = 0 if self._table is None else int((self._table.rows_of(encoded) >= 0).sum())
        least = self._settings.gates.embedded
        if here < least * len(encoded):
            self._hold_against(
                [
                    Failure(
                        "embeddings",
                        f"{here} of {len(encoded)} encoded videos have a vector,"
                        f" {least:.0%} are needed; run `watchnext embed`, which encodes the others again",
                    )
                ]
            )

    def _write_cold_start(self) -> None:
        factors = parts.read_model(self._folder, "collaborative")
        self._state["cold_start"] = None
        if isinstance(factors, LatentFactors):
            audience = self._interactions.audience()
            choices = self._settings.cold_start
            young = self._young_part_of_running("cold_start", choices.keep_hours)
            like = self._running.cold_start if self._running is not None and young is not None else None
            fitted = fit_cold_start(self._view, LiveIndex(self._built_index), factors, audience, choices, like)
            if fitted is not None:
                parts.write_cold_start(self._folder, fitted)
                at = young["trained_at"] if young is not None and like is not None else time.time()
                self._state["cold_start"] = {"trust": fitted.trust, "trained_at": at}

    def _write_ranker(self) -> None:
        """A ranker, where there is enough to learn from and it is better than the fusion on what it has not seen."""
        choices, interactions = self._settings.ranker, self._interactions
        if self._take_over_ranker():
            return
        self._state["ranker"] = {"serves": False}
        # The past cannot be asked with models that are not fitted for it: no ranker would serve beside them.
        if not choices.enabled or any(name not in QUICK for name in self._state["models"]):
            return
        windows = rolling_windows(interactions, choices)
        if most_requests(windows, interactions) < choices.min_groups:
            return
        some = interactions.of_some_viewers(choices.viewers_fitted)
        found = (
            past_requests(window, number, some, self._view, self._built_index, self._settings, interactions)
            for number, window in enumerate(windows)
        )
        past = [requests for requests in found if requests is not None]
        if not past:
            return
        shown = self._shown_requests([window.start for window in windows])
        trained = train_ranker(PastRequests.together(past), FEATURES, choices, shown=shown)
        if trained is None:
            return
        ranker, comparison = trained
        self._state["ranker"] = {
            "serves": comparison.trees_are_better,
            "trained_at": time.time(),
            **asdict(comparison),
        }
        if comparison.trees_are_better:
            parts.write_ranker(self._folder, ranker)

    def _take_over_ranker(self) -> bool:
        """Takes over the running release's ranker, or that none was better, while it is young; whether it did."""
        running = self._running
        trained = self._young_part_of_running("ranker", self._settings.ranker.keep_hours)
        if running is None or trained is None:
            return False
        readable = running.ranker is not None and running.ranker.names == FEATURES
        if trained["serves"] and not readable:
            return False
        if trained["serves"] and running.ranker is not None:
            parts.write_ranker(self._folder, running.ranker)
        self._state["ranker"] = trained
        return True

    def _young_part_of_running(self, name: str, keep_hours: float) -> dict[str, Any] | None:
        """What the running release says of one of its parts, where that was found for the same settings and encoder, in
        the last hours, and without viewers who are held back now; else None."""
        running = self._running
        if running is None or self._running_knows_held_back:
            return None
        if any(running.manifest[key] != self._state["inputs"][key] for key in ("settings", "encoder")):
            return None
        facts: dict[str, Any] = running.manifest.get(name) or {}
        return facts if time.time() - facts.get("trained_at", 0.0) < keep_hours * 3600 else None

    def _shown_requests(self, window_starts: Sequence[float]) -> PastRequests | None:
        """What came of lists that were shown, once all that counts as their doing has happened."""
        choices = self._settings.ranker
        horizon_s = choices.exposure_hours * 3600
        lists = self._store.exposures.with_features(FEATURES, self._state["frozen_at"] - horizon_s, choices.exposures)
        if len(lists) == 0:
            return None
        impressions = self._store.events.impressions(float(lists.shown_at.min()))
        return shown_requests(lists, impressions, self._interactions, self._view, window_starts, horizon_s)

    def _write_view(self) -> None:
        self._view.catch_up(self._store)
        parts.write_view(self._folder, self._view)

    def _pass_gates(self) -> None:
        """The finished release is read as a server would read it, and measured."""
        # What is published must be what was measured: publishing compares the files with these checksums.
        self._state["files"] = parts.checksums(self._folder)
        built = parts.read_release(self._folder, {"id": self._state["id"], "encoder": self._encoder})
        bounds, measured = self._settings.gates, self._state["gates"]
        # In the catalogue it means something that a number is unknown or without end.
        for path in sorted(set(self._folder.glob("*.npy")) - set(self._folder.glob("catalogue.*.npy"))):
            values = np.load(path, mmap_mode="r", allow_pickle=False)
            if values.dtype.kind == "f" and not np.isfinite(values).all():
                raise GateError([Failure("finite", f"{path.stem} hold numbers that are not finite")])
        failures: list[Failure] = []
        for name, index, matrix, asked in self._searched(built):
            measured[name] = found = recall(index, matrix, asked, min(RECALL_AT, len(index)))
            if found < bounds.recall and name == "recall":
                failures.append(
                    Failure("recall", f"{found:.4f} of the exact neighbours are found, {bounds.recall} are needed")
                )
            elif found < bounds.recall:
                # Among videos that hardly anybody met it is noise; what lists lose is for the gate of quality.
                log.warning("%s is %.4f, below %.2f", name, found, bounds.recall)
        if self._running is not None:
            here = {"videos": len(built.videos), "embeddings": len(built.index), **self._state["counts"]}
            failures += size_failures(here, self._running.manifest["counts"], bounds.least_size)
            compared = self._compared_with(self._running, built)
            if compared is not None:
                measured["quality"] = asdict(compared)
                failures += quality_failures(compared, bounds)
        self._hold_against(failures)

    def _hold_against(self, failures: Sequence[Failure]) -> None:
        """Raises GateError for those that nobody has accepted beforehand."""
        refused = [failure for failure in failures if failure.gate not in self._accept]
        if refused:
            raise GateError(refused)
        for failure in failures:
            log.warning("%s; accepted", failure)
        self._state["accepted"] += map(str, failures)

    def _searched(self, built: Release) -> Iterator[tuple[str, VectorIndex, np.ndarray, np.ndarray]]:
        """(name of the measure, index, what it was built from, what it is asked for) of each that is approximate."""
        if self._vectors is None or built.index.kind == "flat":
            self._state["gates"]["recall"] = 1.0
        else:
            some = np.random.default_rng(1).choice(len(self._vectors), min(ASKED, len(self._vectors)), replace=False)
            yield "recall", built.index, self._vectors, self._vectors[np.sort(some)]
        factors = built.models.get("collaborative")
        if built.factor_index is not None and isinstance(factors, LatentFactors):
            viewers = _some_viewers(factors, self._interactions, seed=1)
            yield "factor_recall", built.factor_index, factors.items[built.factor_index.ids], viewers

    def _compared_with(self, running: Release, built: Release) -> Comparison | None:
        """Both releases, each with the settings that it was made with, on viewers whom neither has learned from."""
        share = min(self._share_held_back, running.manifest.get("held_back", 0.0))
        names = self._everybody.viewers
        unseen = self._everybody.take(held_back(names, share)[self._everybody.viewer]) if share else None
        if unseen is None or len(unseen) == 0:
            return None
        try:
            settings = RecommenderSettings.model_validate(running.manifest["settings"])
        except ValidationError:
            settings = self._settings
        new = Engine(built, self._view, self._settings)
        there = Engine(running, running.view(self._store), settings).with_newest_videos(
            self._store.catalogue, self._home.embeddings
        )
        return compare(new, there, unseen, self._settings)

    # ---- What several phases need --------------------------------------------------------------------------

    @cached_property
    def _videos(self) -> StringTable:
        return parts.read_videos(self._folder)

    @cached_property
    def _column_of(self) -> Mapping[str, int]:
        return self._videos.place_of

    @cached_property
    def _everybody(self) -> Interactions:
        """What viewers did until the run began, in the columns of this release."""
        return load_interactions(self._store, self._state["until_seq"], self._home.digest).in_columns(self._videos)

    @cached_property
    def _share_held_back(self) -> float:
        """That of the running release while it is about as large as one would choose now, so that it stays the same."""
        wanted = self._settings.gates.share_held_back(len(self._everybody.viewers))
        there = self._running.manifest.get("held_back", 0.0) if self._running else 0.0
        return there if 0.8 * there <= wanted <= 1.25 * there else wanted

    @property
    def _running_knows_held_back(self) -> bool:
        """Whether the running release has learned from viewers who are held back now: nothing may begin with it."""
        return self._running is not None and self._share_held_back > self._running.manifest.get("held_back", 0.0)

    @cached_property
    def _interactions(self) -> Interactions:
        """What is learned from: what everybody did but those who are held back."""
        everybody = self._everybody
        if not self._share_held_back:
            return everybody
        return everybody.take(~held_back(everybody.viewers, self._share_held_back)[everybody.viewer])

    @cached_property
    def _view(self) -> CatalogueView:
        return CatalogueView.load(self._store, self._videos)

    @property
    def _encoder(self) -> str:
        return str(self._state["inputs"]["encoder"])

    @cached_property
    def _rows(self) -> np.ndarray:
        """Which rows (n,) int64 of the embedding table are of videos of this release, in the order of its columns."""
        if self._table is None:
            return np.zeros(0, np.int64)
        rows = self._table.rows_of(self._videos)
        return rows[rows >= 0]

    @cached_property
    def _vectors(self) -> np.ndarray | None:
        """(n, D) float32, in the order of the columns; None where there are none."""
        if self._table is None or len(self._rows) == 0:
            return None
        in_order = len(self._rows) == len(self._table) and bool((self._rows == np.arange(len(self._rows))).all())
        return self._table.matrix if in_order else self._table.matrix[self._rows]

    @cached_property
    def _built_index(self) -> VectorIndex:
        if "index" in self._state["done"]:
            return parts.read_index(self._folder)
        if self._table is None or self._vectors is None:
            return VectorIndex.build(np.zeros((0, 1), np.float32))
        names = self._table.ids[self._rows]
        columns = np.fromiter((self._column_of[name] for name in names), np.int64, len(names))
        same_encoder = self._running is not None and self._running.manifest["encoder"] == self._encoder
        before = self._running.index if self._running is not None and same_encoder else None
        return self._index_of(self._vectors, columns, None, before)

    def _index_of(
        self,
        matrix: np.ndarray,
        ids: np.ndarray,
        asked: np.ndarray | None,
        before: VectorIndex | None,
    ) -> VectorIndex:
        try:
            return VectorIndex.build(matrix, ids, self._settings.index, asked, before)
        except ValueError as error:
            raise RefreshError(str(error)) from error


def _some_viewers(factors: LatentFactors, interactions: Interactions, seed: int = 0) -> np.ndarray:
    """The factors (n, F) float32 of viewers drawn by chance: what the index of the factors will be asked for."""
    positives = interactions.positives()
    known = np.flatnonzero(np.diff(positives.indptr))
    drawn = np.random.default_rng(seed).permutation(known)[:ASKED]
    entries = [slice(*positives.indptr[viewer : viewer + 2]) for viewer in drawn.tolist()]
    return np.stack([factors.fold_in(positives.indices[each], positives.data[each]) for each in entries])
