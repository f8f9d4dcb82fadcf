"""How long does one list take? `watchnext bench engine --data FOLDER` (with ml-1m), or `--videos N`.

One request without a cache, of random viewers of MovieLens-1M with their real histories: four sources of 300
candidates each, merged, ranked by the trained ranker, made diverse, ten shown. Printed are p50, p95 and p99 of the
whole and of each stage. Beside them stand the library calls that such a request cannot do without, on the same arrays
in the same run: one solve and one product for the factors, the sums of sparse rows, the partial sorts, LightGBM's
prediction, a product for each of the ten greedy steps of diversity; the ratio is what the engine adds.

With `--videos N` a catalogue of N videos stands in for the real one, with made vectors of 256 dimensions, and histories
of 50 likes: its times, not its lists, mean something. One BLAS and one FAISS thread throughout, as in a server.
`on_processor` is the total without the time in which others had the processor: where a machine is shared, the high
percentiles of the total are theirs.
"""

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import lightgbm
import numpy as np
import orjson
import scipy.sparse as sp
import typer
from threadpoolctl import threadpool_limits

from benchmarks import main
from benchmarks.made import library
from benchmarks.quality_tasks.movielens import RATINGS, import_ratings, read_ratings
from data.home import Home
from data.schema import VideoRecord
from data.store import Store
from recommender.catalogue_view import CatalogueView
from recommender.collaborative import LatentFactors
from recommender.engine import Engine
from recommender.index import VectorIndex, use_threads
from recommender.item_item import ItemWeights
from recommender.models import HistoryModel
from recommender.pipeline.stages import Query
from recommender.policy.looks import compact_looks
from recommender.popularity import Popularity
from recommender.profile import Profile, profile_of_likes
from recommender.refresh import refresh
from recommender.release import Release
from recommender.settings import RecommenderSettings
from recommender.strings import StringTable

app = typer.Typer()
SOURCES = ("collaborative", "session", "walks", "sequential")
#: EASE is not for large catalogues; there are no looks in MovieLens.
SOURCES_OF_LARGE = ("collaborative", "content", "walks", "sequential")
CANDIDATES, SHOWN = 300, 10
DIM, FACTORS = 256, 64
ASKED_FOR_RECALL = 100


@app.command()
def engine(
    data: Annotated[Path | None, typer.Option(help="the folder with ml-1m")] = None,
    videos: Annotated[int | None, typer.Option(min=50_000, help="a made catalogue of this size instead")] = None,
    requests: Annotated[int, typer.Option(min=50)] = 2_000,
    json: Annotated[bool, typer.Option("--json", help="one JSON object on standard output")] = False,
) -> None:
    """Time of one list by stages, beside the library calls that it contains."""
    if videos is not None:
        result = measure_large(videos, requests)
    elif data is not None and (data / "ml-1m" / RATINGS).is_file():
        result = measure_movielens(data / "ml-1m", requests)
    else:
        raise typer.BadParameter(f"--data needs a folder with ml-1m/{RATINGS}, or give --videos")
    if json:
        typer.echo(orjson.dumps(result, option=orjson.OPT_INDENT_2).decode())
        return
    for name, times in result["stages_ms"].items():
        typer.echo(f"{name:<20} p50 {times['p50']:7.3f} ms  p95 {times['p95']:7.3f}  p99 {times['p99']:7.3f}")
    for name, facts in result.get("indexes", {}).items():
        probes = f" with {facts['probes']} probes" if facts["probes"] else ""
        typer.echo(f"index of {name}: {facts['kind']}{probes}, recall@100 {facts['recall_at_100']:.4f} against exact")
    if "library_ms" in result:
        typer.echo(
            f"library calls alone  p50 {result['library_ms']['p50']:7.3f} ms; the ratio is {result['ratio']:.2f}"
        )


def measure_movielens(folder: Path, requests: int) -> dict[str, Any]:
    """Everything real: the import, the refresh with its ranker, the viewers' histories."""
    with _movielens(folder) as (store, home), _one_thread():
        settings = settings_with(SOURCES)
        opened = Engine.open(home, store, settings)
        ratings = read_ratings(folder)
        viewers = np.random.default_rng(0).permutation(ratings["userId"].unique())[:requests].tolist()
        now = float(ratings["t"].max())
        queries = [Query(opened.profile(store.events.history(viewer)), SHOWN, now) for viewer in viewers]
        stages = _timed_stages(opened, queries)
        library = _timed(queries, _library_calls(opened))
    return {
        "videos": len(opened.videos),
        "requests": len(queries),
        "ranker": opened.pipeline.ranker is not None,
        "stages_ms": stages,
        "library_ms": library,
        "ratio": round(stages["total"]["p50"] / library["p50"], 3),
    }


def measure_large(videos: int, requests: int) -> dict[str, Any]:
    """A made catalogue: clustered vectors and factors, sparse item-item weights, histories of 50 likes."""
    started = time.perf_counter()
    release, view = _made_release(videos)
    with _one_thread():
        opened = Engine(release, view, settings_with(SOURCES_OF_LARGE))
        opening_s = time.perf_counter() - started
        rng = np.random.default_rng(1)
        queries = [Query(_made_profile(rng, videos), SHOWN, 1_700_000_000.0 + turn) for turn in range(requests)]
        stages = _timed_stages(opened, queries)
    return {
        "videos": videos,
        "requests": requests,
        "made_and_opened_s": round(opening_s, 1),
        "indexes": _indexes(release, rng),
        "stages_ms": stages,
    }


# ---- What is measured ------------------------------------------------------------------------------------------


def _timed_stages(opened: Engine, queries: list[Query]) -> dict[str, dict[str, float]]:
    for query in queries[:20]:
        opened.recommend(query)
    taken: dict[str, list[float]] = {}
    for query in queries:
        started, worked = time.perf_counter(), time.thread_time()
        slate, trace = opened.recommend(query)
        on_processor = (time.thread_time() - worked) * 1000
        total = (time.perf_counter() - started) * 1000
        if len(slate) != SHOWN or trace.warnings:
            raise RuntimeError(f"a list of {len(slate)}: {trace.warnings}")
        for name, milliseconds in {**trace.timings_ms, "total": total, "on_processor": on_processor}.items():
            taken.setdefault(name, []).append(milliseconds)
    return {name: _percentiles(times) for name, times in taken.items()}


def _timed(queries: list[Query], run: Callable[[Query], object]) -> dict[str, float]:
    for query in queries[:20]:
        run(query)
    times = []
    for query in queries:
        started = time.perf_counter()
        run(query)
        times.append((time.perf_counter() - started) * 1000)
    return _percentiles(times)


def _indexes(release: Release, rng: np.random.Generator) -> dict[str, dict[str, Any]]:
    """What the searches are: the kind of index, and the share of the exact 100 nearest that it finds."""
    assert release.factor_index is not None
    rows = rng.choice(len(release.videos), ASKED_FOR_RECALL, replace=False)
    viewers = _made_viewers(release.models["collaborative"], rng, ASKED_FOR_RECALL)
    pairs = {"content": (release.index, release.index.vectors(rows)[1]), "factors": (release.factor_index, viewers)}
    return {
        name: {
            "kind": index.description,
            "probes": index.probes,
            "recall_at_100": round(_recall_at_100(index, asked), 4),
        }
        for name, (index, asked) in pairs.items()
    }


def _recall_at_100(index: VectorIndex, asked: np.ndarray) -> float:
    _, vectors = index.vectors(index.ids)
    _, found = index.search(asked, 100)
    hundredth = [np.partition(vectors @ query, -100)[-100] for query in asked]
    return float(np.mean(found >= np.array(hundredth)[:, None] - 1e-5))


def _percentiles(times: list[float]) -> dict[str, float]:
    return {f"p{q}": round(float(np.percentile(times, q)), 4) for q in (50, 95, 99)}


def _library_calls(opened: Engine) -> Callable[[Query], object]:
    """The calls of NumPy, SciPy and LightGBM that a list cannot do without, with nothing around them."""
    models = opened.release.models
    factors = models["collaborative"]
    assert isinstance(factors, LatentFactors)
    rows = {name: models["item_item" if name == "session" else name] for name in SOURCES[1:]}
    trained = opened.release.ranker
    assert trained is not None
    booster = lightgbm.Booster(model_str=orjson.loads(trained.to_text())["trees"])
    features = np.random.default_rng(0).random((opened.settings.pipeline.ranked, len(trained.names)))
    likeness = np.random.default_rng(0).random((100, 64)).astype(np.float32)

    def run(query: Query) -> object:
        liked, weights = query.profile.recent(None)
        viewer = factors.fold_in(liked, weights)
        scores = [factors.items @ viewer]
        for name, model in rows.items():
            assert isinstance(model, ItemWeights)
            half_life = getattr(opened.settings.sources, name).half_life_items or None
            columns, counts = query.profile.recent(half_life)
            scores.append(counts @ model.weights[columns])
        best = [np.argpartition(-each, CANDIDATES)[:CANDIDATES] for each in scores]
        merged = np.unique(np.concatenate(best))
        booster.predict(features, raw_score=True, num_threads=1)
        for place in range(SHOWN):
            (likeness @ likeness[place]).argmax()
        return merged

    return run


# ---- What it is measured on ------------------------------------------------------------------------------------


def settings_with(sources: Sequence[str]) -> RecommenderSettings:
    settings = RecommenderSettings()
    for name, source in settings.sources:
        source.enabled = name in sources
        source.candidates = CANDIDATES
    return settings


@contextmanager
def _one_thread() -> Iterator[None]:
    use_threads(1)
    with threadpool_limits(1):
        yield


@contextmanager
def _movielens(folder: Path) -> Iterator[tuple[Store, Home]]:
    with tempfile.TemporaryDirectory(prefix="watchnext-bench-") as scratch:
        home = Home.at(Path(scratch))
        store = Store.open(home.database_url)
        import_ratings(folder, read_ratings(folder), home, store)
        refresh(store, home, settings_with(SOURCES))
        yield store, home
        store.close()


def _made_release(count: int) -> tuple[Release, CatalogueView]:
    rng = np.random.default_rng(0)
    factors = LatentFactors(library(count, FACTORS, seed=1)[0], 50.0, 1.0)
    # The kinds of index that a refresh would build.
    vectors, _ = library(count, DIM)
    index = VectorIndex.build(vectors)
    factor_index = VectorIndex.build(factors.items, asked=_made_viewers(factors, rng, ASKED_FOR_RECALL))
    world = rng.pareto(1.2, size=(Popularity.WINDOWS, count)).astype(np.float32)
    records = [
        VideoRecord(id=f"v{number}", number=number, labels=[f"label-{number % 200}"], created_at=1_600_000_000.0)
        for number in range(count)
    ]
    release = Release(
        id="made",
        manifest={"id": "made", "encoder": "none", "created_at": 0.0},
        videos=StringTable.of(record.id for record in records),
        index=index,
        popularity=Popularity(world, {}, 0.8),
        viewers=np.full(count, 100, np.int32),
        models={
            "collaborative": factors,
            **{name: _made_weights(rng, count) for name in ("walks", "sequential")},
        },
        factor_index=factor_index,
        looks=compact_looks(index.ids, vectors, count),
    )
    return release, CatalogueView([]).with_videos(records)


def _made_weights(rng: np.random.Generator, count: int, neighbours: int = 100) -> ItemWeights:
    indices = rng.integers(0, count, (count, neighbours), dtype=np.int32)
    indices.sort(axis=1)
    data = rng.random(count * neighbours, dtype=np.float32)
    return ItemWeights(sp.csr_matrix((data, indices.ravel(), np.arange(0, data.size + 1, neighbours)), (count, count)))


def _made_profile(rng: np.random.Generator, count: int) -> Profile:
    liked = rng.choice(count, 50, replace=False)
    return profile_of_likes(liked, np.ones(50, np.float32), 1_700_000_000.0 - 60.0 * np.arange(50))


def _made_viewers(factors: HistoryModel, rng: np.random.Generator, number: int) -> np.ndarray:
    """(number, F) float32: the factors of viewers with made profiles."""
    assert isinstance(factors, LatentFactors)
    profiles = [_made_profile(rng, len(factors.items)) for _ in range(number)]
    return np.stack([factors.fold_in(*profile.recent(None)) for profile in profiles])


if __name__ == "__main__":
    main(app)
