"""How much does a refresh add to what it cannot do without? `watchnext bench refresh`.

A made service (`benchmarks.made`) of as many videos, viewers and events as are asked for, imported as ops would, with
vectors of 256 dimensions. A first refresh, by the command, in a process of its own, whose peak memory is what the
system says; then what one in a hundred viewers did since is imported, and a second refresh begins where the first
ended. The floor, in the same run on the same data: implicit's own fit with the same settings, from the matrix on, and
the build of the index from the vectors on. The ratio is the whole refresh, from reading the events to publishing, over
the sum of these two.
"""

import json as json_of
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import faiss
import numpy as np
import orjson
import pandas as pd
import sqlalchemy as sa
import typer
from implicit.als import AlternatingLeastSquares
from threadpoolctl import threadpool_limits

from benchmarks import main
from benchmarks.made import library, watching
from data.embeddings import EmbeddingTable
from data.home import Home
from data.importers import import_events
from data.interactions import load_interactions
from data.schema import Video, VideoState
from data.store import Store
from data.store.tables import videos as videos_table
from recommender.collaborative import REGULARIZATION_PER_LIKE
from recommender.index import CELLS_PER_ROOT, TRAINED_ON_PER_CELL
from recommender.settings import RecommenderSettings

app = typer.Typer()
DIM, ENCODER = 256, "made/256"
BEGINS = 1_700_000_000.0


@app.command()
def refresh(
    events: Annotated[int, typer.Option(min=1_000)] = 10_000_000,
    viewers: Annotated[int, typer.Option(min=100)] = 200_000,
    videos: Annotated[int, typer.Option(min=1_000)] = 100_000,
    into: Annotated[Path | None, typer.Option(help="a folder for the made service, used again if it is there")] = None,
    json: Annotated[bool, typer.Option("--json", help="one JSON object on standard output")] = False,
) -> None:
    """Time and peak memory of a whole refresh over those of a raw fit and a raw index build."""
    with tempfile.TemporaryDirectory(prefix="watchnext-bench-") as scratch:
        result = measure(Home.at(into or Path(scratch) / "home"), events, viewers, videos)
    if json:
        typer.echo(orjson.dumps(result, option=orjson.OPT_INDENT_2).decode())
        return
    floor = result["floor"]
    typer.echo(
        f"{result['events']:,} events of {viewers:,} viewers, {videos:,} videos: imported in {result['import_s']:.0f} s"
    )
    typer.echo(f"floor: implicit {floor['implicit_s']:.1f} s, index {floor['index_s']:.1f} s")
    for name in ("first", "next"):
        each = result[name]
        phases = ", ".join(f"{phase} {seconds:.1f}" for phase, seconds in each["seconds"].items())
        typer.echo(
            f"{name} refresh: {each['total_s']:.1f} s, ratio {each['ratio']:.2f}, at most {each['peak_mb']:,.0f} MB"
            f" ({each['estimated_mb']:,.0f} estimated); {phases}"
        )


def measure(home: Home, events: int, viewers: int, videos: int) -> dict[str, Any]:
    started = time.perf_counter()
    store = Store.open(home.database_url)
    vectors, topic = library(videos, DIM)
    names = [f"video-{number}" for number in range(videos)]
    frame = frame_of(names, *watching(topic, viewers, events))
    later = frame["user_id"].str.endswith("00") & (frame["occurred_at"] > frame["occurred_at"].quantile(0.9))
    if store.catalogue.version() == 0:
        fill(store, home, names, vectors)
        import_frame(store, home, frame[~later])
    import_s = time.perf_counter() - started
    first = refreshed(home)
    import_frame(store, home, frame[later])
    second = refreshed(home)
    floor = _floor(store, vectors)
    store.close()
    whole = floor["implicit_s"] + floor["index_s"]
    for each in (first, second):
        each["ratio"] = each["total_s"] / whole
    return {"events": len(frame), "import_s": import_s, "floor": floor, "first": first, "next": second}


def frame_of(names: list[str], viewer: np.ndarray, video: np.ndarray, seconds: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "user_id": pd.Series(viewer).map("viewer-{}".format),
            "video_id": np.array(names, dtype=object)[video],
            "type": "complete",
            "occurred_at": BEGINS + seconds,
        }
    )


def fill(store: Store, home: Home, names: list[str], vectors: np.ndarray) -> None:
    store.catalogue.upsert(Video(id=name, title=name) for name in names)
    EmbeddingTable.create(home.embeddings, ENCODER, DIM).append(names, vectors)
    with store.engine.begin() as connection:
        connection.execute(sa.update(videos_table).values(state=VideoState.READY, encoder_id=ENCODER))


def import_frame(store: Store, home: Home, frame: pd.DataFrame) -> None:
    path = home.root / "events.parquet"
    frame.to_parquet(path, index=False)
    report = import_events(store, path, home.reports)
    if report.rejected:
        raise RuntimeError(f"made events were rejected: {report.summary()}")
    path.unlink()


def refreshed(home: Home) -> dict[str, Any]:
    started = time.perf_counter()
    command = [sys.executable, "-m", "api.cli", "--home", str(home.root), "refresh", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        printed = process.stdout.read() if process.stdout is not None else b""
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    total_s = time.perf_counter() - started
    if process.returncode:
        raise RuntimeError(f"the refresh ended with exit code {process.returncode}")
    told = json_of.loads(printed)
    return {
        "total_s": total_s,
        "peak_mb": used.ru_maxrss / 1000,
        "estimated_mb": told["release"]["memory_estimated"] / 1e6,
        "seconds": told["seconds"],
        "gates": told["release"]["gates"],
        "index": told["release"]["index"],
    }


def _floor(store: Store, vectors: np.ndarray) -> dict[str, float]:
    """The two calls that nobody can do without: implicit's fit and the index's build."""
    positives = load_interactions(store).positives()
    settings = RecommenderSettings()
    started = time.perf_counter()
    with threadpool_limits(1, "blas"):
        model = AlternatingLeastSquares(
            factors=settings.collaborative.factors,
            regularization=REGULARIZATION_PER_LIKE * float(np.diff(positives.indptr).mean()),
            alpha=settings.collaborative.alpha,
            iterations=settings.collaborative.iterations,
            random_state=0,
            use_gpu=False,
        )
        model.fit(positives, show_progress=False)
    implicit_s = time.perf_counter() - started
    started = time.perf_counter()
    _raw_index(vectors)
    return {"implicit_s": implicit_s, "index_s": time.perf_counter() - started}


def _raw_index(vectors: np.ndarray) -> None:
    """What a refresh builds of so many vectors, as FAISS is called for it, with nothing tried out."""
    dim, cells = vectors.shape[1], int(CELLS_PER_ROOT * np.sqrt(len(vectors)))
    codes = faiss.IndexIVFPQFastScan(faiss.IndexFlatIP(dim), dim, cells, dim, 4, faiss.METRIC_INNER_PRODUCT)
    codes.train(vectors[np.random.default_rng(0).permutation(len(vectors))[: TRAINED_ON_PER_CELL * cells]])
    codes.add(vectors)
    kept = faiss.IndexScalarQuantizer(dim, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
    kept.train(vectors[:1])
    kept.add(vectors)


if __name__ == "__main__":
    main(app)
