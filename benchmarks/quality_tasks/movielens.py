"""MovieLens-1M: what the served pipeline would have shown, and what its viewers rated next.

Everything goes through the real importer, the real refresh and the real engine; the whole catalogue is ranked, watched
movies left out. Beside the served list stand its sources, each asked alone.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from data.home import Home
from data.importers import import_movielens
from data.store import Store
from recommender.engine import Engine
from recommender.evaluate.metrics import bootstrap_interval, ndcg_at_k, paired_interval
from recommender.evaluate.served import Served, evaluate_served
from recommender.gates import ACCEPTABLE
from recommender.refresh import RefreshReport, refresh
from recommender.settings import RecommenderSettings

K = 10
RATINGS = "ml1m_sasrec_order_interpolated_ts.csv.gz"
#: What models keep of each video: numbers of factors, and of the ends of walks.
SIZES = ((128, 400), (64, 200), (32, 100))
#: Rolling windows: the shares of all ratings where one ends and the next begins.
CUTS = (0.80, 0.85, 0.90, 0.95, 1.0)


def read_ratings(folder: Path) -> pd.DataFrame:
    """userId, movieId (str), pos (place in the viewer's order), rating, t (seconds)."""
    return pd.read_csv(folder / RATINGS, dtype={"userId": str, "movieId": str})


def import_ratings(folder: Path, ratings: pd.DataFrame, home: Home, store: Store) -> int:
    """Imports these ratings and the movies of the folder as ops would; returns how many are new."""
    part = home.root / "ml-1m"
    part.mkdir(exist_ok=True)
    (part / "movies.dat").write_bytes((folder / "movies.dat").read_bytes())
    ratings.to_csv(part / "ratings.csv", index=False)
    return import_movielens(store, part, home.reports).kept


def leave_one_out(
    folder: Path, settings: RecommenderSettings | None = None, alone: bool = True, viewers: int | None = None
) -> dict[str, Any]:
    """Each viewer's last rating is held out (the literature's split), so lists are for what is watched next; `alone`:
    the single sources are measured, too; `viewers`: only so many are asked for, drawn at random."""
    settings = settings or RecommenderSettings(horizon="next")
    ratings = read_ratings(folder)
    last = ratings.index.isin(ratings.groupby("userId")["pos"].idxmax())
    asked = ratings[last]
    chosen = asked if viewers is None else asked.sample(viewers, random_state=0)
    held_out = {viewer: {video} for viewer, video in chosen[["userId", "movieId"]].itertuples(index=False)}
    with _world(folder, settings) as world:
        kept = world.import_ratings(ratings[~last])
        refreshed = world.refresh()
        measured = world.measure(held_out, dict(zip(asked["userId"], asked["t"], strict=True)), alone)
    served, models = measured
    popularity = _popularity(ratings, last)
    return {
        "task": "ml1m-loo" + ("-transformer" if settings.sources.transformer.enabled else ""),
        "imported": kept,
        "refresh_s": {name: round(seconds, 2) for name, seconds in refreshed.seconds.items()},
        "ranker": refreshed.facts.get("ranker"),
        "served": served.as_dict(),
        "models": {"popularity": {f"ndcg@{K}": popularity}, **{name: each.as_dict() for name, each in models.items()}},
        "ratio_to_popularity": round(float(served.ndcg.mean()) / popularity, 2),
    }


def with_transformer() -> RecommenderSettings:
    """For what is watched next, with the optional sequential transformer among the sources."""
    return RecommenderSettings.model_validate({"horizon": "next", "sources": {"transformer": {"enabled": True}}})


def rolling(folder: Path, settings: RecommenderSettings | None = None) -> dict[str, Any]:
    """Four windows of 5 % of all ratings each: what came before is learned from, what a known viewer rates in the
    window is held out, and each viewer asks at the moment of the first of these ratings."""
    ratings = read_ratings(folder).sort_values(["t", "userId", "pos"], kind="stable").reset_index(drop=True)
    edges = [round(cut * len(ratings)) for cut in CUTS]
    served: list[Served] = []
    models: dict[str, list[Served]] = {}
    windows = []
    with _world(folder, settings) as world:
        for start, before, end in zip([0, *edges], edges, edges[1:], strict=False):
            world.import_ratings(ratings[start:before])
            refreshed = world.refresh()
            window = ratings[before:end]
            known = window[window["userId"].isin(set(ratings["userId"][:before]))]
            held_out = known.groupby("userId")["movieId"].agg(set).to_dict()
            ours, theirs = world.measure(held_out, known.groupby("userId")["t"].min().to_dict(), alone=True)
            served.append(ours)
            for name, each in theirs.items():
                models.setdefault(name, []).append(each)
            windows.append(
                {
                    "viewers": len(held_out),
                    f"ndcg@{K}": float(ours.ndcg.mean()),
                    "ranker": refreshed.facts.get("ranker"),
                    "refresh_s": round(sum(refreshed.seconds.values()), 1),
                }
            )
    viewers = np.concatenate([each.viewers for each in served])
    ours_ndcg = np.concatenate([each.ndcg for each in served])
    theirs_ndcg = {name: np.concatenate([each.ndcg for each in found]) for name, found in models.items()}
    best = max(theirs_ndcg, key=lambda name: float(theirs_ndcg[name].mean()))
    relevant = np.concatenate([each.relevant for each in served])
    return {
        "task": "ml1m-rolling",
        "windows": windows,
        "served": _together(served) | {"by_future_activity": _by_activity(ours_ndcg, relevant)},
        "models": {name: _together(found) for name, found in models.items()},
        "best_single_model": best,
        "gain": float((ours_ndcg - theirs_ndcg[best]).mean()),
        "gain_95": list(paired_interval(ours_ndcg, theirs_ndcg[best], viewers)),
    }


def sizes(folder: Path) -> dict[str, Any]:
    """The rolling windows by what the models keep of each video, without a ranker."""
    found = {}
    for factors, neighbours in SIZES:
        settings = {"collaborative": {"factors": factors}, "walks": {"neighbours": neighbours}}
        result = rolling(folder, RecommenderSettings.model_validate({"ranker": {"enabled": False}, **settings}))
        measured = {"served": result["served"]} | {name: result["models"][name] for name in settings}
        found |= {f"{name} {factors}/{neighbours}": figures for name, figures in measured.items()}
    return {"task": "ml1m-sizes", "models": found}


def _together(windows: list[Served]) -> dict[str, Any]:
    """Means over the viewers of all windows."""
    ndcg = np.concatenate([each.ndcg for each in windows])
    weights = [len(each.viewers) for each in windows]
    dicts = [each.as_dict() for each in windows]
    means = {
        name: float(np.average([each[name] for each in dicts], weights=weights))  # type: ignore[arg-type]
        for name in (f"recall@{K}", f"hit_rate@{K}", "coverage")
    }
    return {
        f"ndcg@{K}": float(ndcg.mean()),
        f"ndcg@{K}_95": list(bootstrap_interval(ndcg)),
        **means,
        "lists": len(ndcg),
    }


def _by_activity(ndcg: np.ndarray, relevant: np.ndarray) -> dict[str, float]:
    groups = {"1-5": relevant <= 5, "6-20": (relevant > 5) & (relevant <= 20), "21+": relevant > 20}
    return {name: float(ndcg[rows].mean()) for name, rows in groups.items()}


@dataclass
class _World:
    """A home that ratings are imported into and that is refreshed, as ops would."""

    folder: Path
    home: Home
    store: Store
    settings: RecommenderSettings

    def import_ratings(self, ratings: pd.DataFrame) -> int:
        return import_ratings(self.folder, ratings, self.home, self.store)

    def refresh(self) -> RefreshReport:
        # What is measured here decides what is better, and months lie between two windows.
        return refresh(self.store, self.home, self.settings, accept=ACCEPTABLE)

    def measure(
        self, held_out: dict[str, set[str]], moments: dict[str, float], alone: bool
    ) -> tuple[Served, dict[str, Served]]:
        """(the served list, the lists of the sources that answer when asked alone by name)."""
        engine = Engine.open(self.home, self.store, self.settings)
        served = evaluate_served(engine, self.store, held_out, K, moments=moments)
        found = {}
        for source in engine.pipeline.sources if alone else []:
            name = source.name
            each = evaluate_served(engine, self.store, held_out, K, f"{name} alone", moments, {name})
            if each.shown:
                found[name] = each
        return served, found


@contextmanager
def _world(folder: Path, settings: RecommenderSettings | None) -> Iterator[_World]:
    with tempfile.TemporaryDirectory(prefix="watchnext-bench-") as scratch:
        home = Home.at(Path(scratch))
        store = Store.open(home.database_url)
        chosen = (settings or RecommenderSettings()).model_copy(deep=True)
        chosen.ranker.keep_hours = 0.0
        yield _World(folder, home, store, chosen)
        store.close()


def _popularity(ratings: pd.DataFrame, last: np.ndarray) -> float:
    """NDCG@10 of the movies with most viewers in the training part, without those that the viewer has rated."""
    by_count = ratings.loc[~last, "movieId"].value_counts().index.to_numpy()
    seen = ratings[~last].groupby("userId")["movieId"].agg(set)
    hits = np.zeros((int(last.sum()), K), bool)
    for row, (viewer, wanted) in enumerate(ratings.loc[last, ["userId", "movieId"]].itertuples(index=False)):
        watched = seen[viewer]
        top = [video for video in by_count[: K + len(watched)] if video not in watched][:K]
        hits[row] = [video == wanted for video in top]
    return float(ndcg_at_k(hits, np.ones(len(hits), np.int64)).mean())
