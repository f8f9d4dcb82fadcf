"""MovieLens folders -> catalogue and events, in both layouts: `ml-latest-*` (CSV) and `ml-1m` (`::`).

A rating becomes a `rate` event; who rates has watched. The ratings of `ml-1m` are read from `ratings.dat`, or from
a table of the same ratings with the columns userId, movieId, rating, t in the viewers' own order.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd

from data.importers.events import CHUNK_ROWS, Chunk, add_chunks
from data.importers.report import ImportProblem, ImportReport
from data.progress import progress
from data.schema import EventType, Video
from data.store import Store

HIGHEST_RATING = 5.0
_YEAR = re.compile(r"\((\d{4})\)\s*$")


def import_movielens(store: Store, folder: Path, reports: Path) -> ImportReport:
    """Imports a MovieLens folder: its movies as videos without media, its ratings as events.

    Raises ImportProblem when the folder holds neither layout.
    """
    movies, ratings = _tables(folder)
    # What the catalogue knows already may have media, edits or a takedown since: it stays as it is.
    known = set(store.catalogue.ids())
    store.catalogue.upsert(video for video in _videos(movies) if video.id not in known)
    report = ImportReport(str(folder), reports)
    with progress(f"ratings from {folder.name}", len(ratings), "ratings") as advance:
        add_chunks(store, _chunks(ratings), report, advance)
    return report.finish()


def _tables(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(movies: movieId, title, genres; ratings: userId, movieId, rating, timestamp), ids as they stand in the files."""
    if (folder / "movies.csv").is_file() and (folder / "ratings.csv").is_file():
        return pd.read_csv(folder / "movies.csv", dtype=str, keep_default_na=False), _ratings(folder / "ratings.csv")
    if (folder / "movies.dat").is_file():
        movies = _dat(folder / "movies.dat", ["movieId", "title", "genres"])
        if (folder / "ratings.dat").is_file():
            ratings = _dat(folder / "ratings.dat", ["userId", "movieId", "rating", "timestamp"])
            return movies, ratings.astype({"rating": float, "timestamp": float})
        for path in sorted(folder.glob("*.csv*")):
            if {"userId", "movieId", "rating", "t"} <= set(pd.read_csv(path, nrows=0).columns):
                return movies, _ratings(path)
    raise ImportProblem(
        f"{folder}: not a MovieLens folder; needed are movies.csv + ratings.csv, or movies.dat + ratings.dat"
    )


def _ratings(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, dtype={"userId": str, "movieId": str}).rename(columns={"t": "timestamp"})


def _dat(path: Path, names: list[str]) -> pd.DataFrame:
    # Not splitlines(): in latin-1 it would also split at the byte 0x85.
    lines = (line.rstrip("\r") for line in path.read_text(encoding="latin-1").split("\n"))
    return pd.DataFrame([line.split("::") for line in lines if line], columns=names)


def _videos(movies: pd.DataFrame) -> Iterator[Video]:
    for movie in movies.itertuples(index=False):
        genres = [name for name in str(movie.genres).split("|") if name and not name.startswith("(")]
        year = _YEAR.search(str(movie.title))
        published = datetime(int(year[1]), 1, 1, tzinfo=UTC).timestamp() if year and int(year[1]) >= 1970 else None
        yield Video(id=str(movie.movieId), title=str(movie.title), labels=genres, published_at=published)


def _chunks(ratings: pd.DataFrame) -> Iterator[Chunk]:
    for start in range(0, len(ratings), CHUNK_ROWS):
        part = ratings.iloc[start : start + CHUNK_ROWS]
        frame = pd.DataFrame(
            {
                "user_id": part["userId"].to_numpy(object),
                "video_id": part["movieId"].to_numpy(object),
                "type": EventType.RATE.value,
                "value": part["rating"].to_numpy(np.float64) / HIGHEST_RATING,
                "occurred_at": part["timestamp"].to_numpy(np.float64),
            }
        ).astype({"value": object, "occurred_at": object})
        frame["event_id"] = "ml-" + part["userId"].to_numpy(object) + "-" + part["movieId"].to_numpy(object)
        yield Chunk(frame, np.arange(start + 1, start + len(part) + 1))
