"""Quality of the served list on real data: `watchnext bench quality --task ml1m-loo --data FOLDER`.

ml1m-loo: MovieLens-1M, leave-one-out (the literature's split): each viewer's last rated movie is held out, the
rest goes through the real importer, the real refresh and the real engine, and the list of 10 that would be served
is compared with the held-out movie. Full catalogue, watched movies masked. Popularity (number of viewers in the
training part) and the single sources stand beside it.
"""

import tempfile
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import orjson
import pandas as pd
import typer

from benchmarks import main
from data.home import Home
from data.importers import import_movielens
from data.store import Store
from recommender.engine import Engine
from recommender.evaluate.metrics import ndcg_at_k
from recommender.evaluate.served import Served, evaluate_served
from recommender.refresh import refresh
from recommender.settings import RecommenderSettings

app = typer.Typer()
K = 10
RATINGS = "ml1m_sasrec_order_interpolated_ts.csv.gz"


@app.command()
def quality(
    data: Annotated[Path, typer.Option(help="the folder with ml-1m")],
    task: Annotated[str, typer.Option(help="ml1m-loo")] = "ml1m-loo",
    json: Annotated[bool, typer.Option("--json", help="one JSON object on standard output")] = False,
) -> None:
    """Quality of the served list on real data."""
    if task != "ml1m-loo":
        raise typer.BadParameter(f"no task {task!r}; there is ml1m-loo")
    if not (data / RATINGS).is_file():
        raise typer.BadParameter(f"{data} has no {RATINGS}")
    result = leave_one_out(data)
    if json:
        typer.echo(orjson.dumps(result, option=orjson.OPT_INDENT_2).decode())
        return
    served = result["served"]
    low, high = served["ndcg@10_95"]
    typer.echo(
        f"{'served list':<20} NDCG@10 {served['ndcg@10']:.4f} [{low:.4f}, {high:.4f}]"
        f"  HR@10 {served['hit_rate@10']:.4f}"
    )
    for name, figures in result["models"].items():
        typer.echo(f"{name:<20} NDCG@10 {figures['ndcg@10']:.4f}")


def leave_one_out(folder: Path, sources_alone: bool = True) -> dict[str, Any]:
    """The served list and, beside it, popularity and, where asked for, each source alone."""
    ratings = pd.read_csv(folder / RATINGS, dtype={"userId": str, "movieId": str})
    last = ratings.index.isin(ratings.groupby("userId")["pos"].idxmax())
    held_out = {viewer: {video} for viewer, video in ratings.loc[last, ["userId", "movieId"]].itertuples(index=False)}
    with tempfile.TemporaryDirectory(prefix="watchnext-bench-") as scratch:
        train = Path(scratch) / "ml-1m"
        train.mkdir()
        (train / "movies.dat").write_bytes((folder / "movies.dat").read_bytes())
        ratings[~last].to_csv(train / "ratings.csv", index=False)
        home = Home.at(Path(scratch) / "home")
        store = Store.open(home.database_url)
        report = import_movielens(store, train, home.reports)
        refreshed = refresh(store, home)
        served = evaluate_served(Engine.open(home, store), store, held_out, K)
        alone = {
            f"{name} alone": evaluate_served(_engine_with(home, store, name), store, held_out, K).as_dict()
            for name in ("collaborative", "popular")
            if sources_alone
        }
        store.close()
    return {
        "task": "ml1m-loo",
        "imported": report.kept,
        "refresh_s": {name: round(seconds, 2) for name, seconds in refreshed.seconds.items()},
        "served": served.as_dict(),
        "models": {"popularity": {"ndcg@10": _popularity(ratings, last)}, **alone},
        "ratio_to_popularity": _ratio(served, _popularity(ratings, last)),
    }


def _engine_with(home: Home, store: Store, only: str) -> Engine:
    settings = RecommenderSettings()
    for name, source in settings.sources:
        source.enabled = name == only
    return Engine.open(home, store, settings)


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


def _ratio(served: Served, popularity: float) -> float:
    return round(served.ndcg / popularity, 2)


if __name__ == "__main__":
    main(app)
