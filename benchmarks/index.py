"""How good and how fast is the index? `watchnext bench index`, beside exact search, hnswlib and usearch.

Vectors of a made library (`benchmarks.made`: topics of Zipf sizes, falling variance; not uniform noise); other vectors
of it are asked for. For each size: time to build on all cores, bytes per vector in the file, recall@100 against exact
search, and queries a second of one thread that asks one query at a time, as a server does. hnswlib and usearch are
asked with every `--ef`; beside the index stands how many queries a second they answer at the smallest ef with which
they find no less. The index keeps vectors as float32 (about hnswlib's memory), float16 (usearch's) and int8. Filtered:
among 10 %, 1 % and 0.1 % of the vectors, drawn by chance, and among whole topics; hnswlib asks a Python function about
each vector that it meets, usearch has no filters in Python.

The peers come with `pip install 'watchnext[bench]'`; one that is missing is left out.
"""

import importlib.util
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import orjson
import typer
from threadpoolctl import threadpool_limits

from benchmarks import main
from benchmarks.made import library
from recommender.index import IndexSettings, VectorIndex, exact_search, use_threads

app = typer.Typer()
DIM, K, ASKED = 256, 100, 1_000
#: Both graphs as their authors build them by default, but for more links than usearch's own 16 at its base.
LINKS, EF_CONSTRUCTION = 16, 200
FILTERED_ASKED, FILTERED_BY_FUNCTION = 200, 20

Search = Callable[[np.ndarray], np.ndarray]


@app.command()
def index(
    size: Annotated[list[int], typer.Option(min=1_000, help="number of vectors; may be given several times")],
    ef: Annotated[list[int], typer.Option(min=K, help="of the peers")] = [100, 150, 200, 300, 400, 600, 800, 1200],  # noqa: B006
    peers: Annotated[bool, typer.Option(help="--no-peers: the index alone")] = True,
    threads: Annotated[int, typer.Option(min=1, help="to build with")] = 2,
    json: Annotated[bool, typer.Option("--json", help="one JSON object on standard output")] = False,
) -> None:
    """Recall, speed, build time and memory at several sizes, with and without filters."""
    results = {str(number): measure(number, ef, peers, threads) for number in size}
    if json:
        typer.echo(orjson.dumps(results, option=orjson.OPT_INDENT_2).decode())
        return
    for number, result in results.items():
        typer.echo(f"{int(number):,} vectors of {DIM} dimensions; exact search: {result['exact_queries_per_s']:.0f}/s")
        for name, facts in result["indexes"].items():
            beside = "".join(
                f"; {peer} at no lower recall {there['queries_per_s']:,.0f}/s, ratio {there['ratio']:.2f}"
                if there["ratio"]
                else f"; {peer} does not find as much"
                for peer, there in facts.get("beside", {}).items()
            )
            speed = ", ".join(
                f"{point['recall']:.4f} at {point['queries_per_s']:,.0f}/s"
                + (f" (ef {point['ef']})" if "ef" in point else "")
                for point in facts["points"]
            )
            typer.echo(
                f"  {name:<20} built in {facts['build_s']:.1f} s, {facts['bytes_per_vector']:.0f} bytes/vector; {speed}"
                + beside
            )
        for name, found in result["filtered"].items():
            shown = ", ".join(f"{who} {each['recall']:.4f} in {each['ms']:.2f} ms" for who, each in found.items())
            typer.echo(f"  among {name}: {shown}")


def measure(count: int, ef: list[int], with_peers: bool, threads: int) -> dict[str, Any]:
    matrix, topic = library(count, DIM)
    queries, _ = library(ASKED, DIM, seed=1)
    truth = exact_search(queries, matrix, K)[0][:, -1]
    ours = {
        "watchnext": IndexSettings(),
        "watchnext float32": IndexSettings(storage="float32"),
        "watchnext int8": IndexSettings(storage="int8"),
    }
    if IndexSettings().kind_for(count) == "flat":
        del ours["watchnext float32"], ours["watchnext int8"]
    indexes: dict[str, dict[str, Any]] = {}
    filtered: dict[str, dict[str, Any]] = {}
    exact = VectorIndex.build(matrix, None, IndexSettings(exact_below=count + 1))
    with _one_thread():
        floor = _queries_per_s(_search_of(exact), queries[:FILTERED_ASKED])
        masks = dict(_masks(count, topic))
        bounds = {
            name: exact_search(queries[:FILTERED_ASKED], matrix[mask], min(K, int(mask.sum())))[0]
            for name, mask in masks.items()
        }
        for name, mask in masks.items():
            filtered[name] = {"exact": _filtered(_search_of(exact, mask), matrix, queries, bounds[name])}
    for name, settings in ours.items():
        built = _built_ours(matrix, settings, threads)
        with _one_thread():
            indexes[name] = built.facts | {
                "kind": built.index.description,
                "points": [_point(_search_of(built.index), matrix, queries, truth)],
            }
            if name == "watchnext":
                for which, mask in masks.items():
                    search = _search_of(built.index, mask)
                    filtered[which][name] = _filtered(search, matrix, queries, bounds[which])
    for name, peer in _peers().items() if with_peers else ():
        indexes[name], search_among = peer(matrix, queries, truth, ef, threads)
        if search_among is not None:
            for which, mask in masks.items():
                search, few = partial(search_among, mask=mask), slice(0, FILTERED_BY_FUNCTION)
                filtered[which][name] = _filtered(search, matrix, queries[few], bounds[which][few])
    for name in ours:
        indexes[name]["beside"] = {
            peer: _beside(indexes[name]["points"][0], indexes[peer]["points"]) for peer in indexes if peer not in ours
        }
    return {"exact_queries_per_s": floor, "indexes": indexes, "filtered": filtered}


# ---- Ours ------------------------------------------------------------------------------------------------------


@dataclass
class _Built:
    index: VectorIndex
    facts: dict[str, Any]


def _built_ours(matrix: np.ndarray, settings: IndexSettings, threads: int) -> _Built:
    use_threads(threads)
    started = time.perf_counter()
    index = VectorIndex.build(matrix, None, settings)
    build_s = time.perf_counter() - started
    with tempfile.TemporaryDirectory(prefix="watchnext-bench-") as folder:
        path = Path(folder) / "index.faiss"
        index.save(path)
        facts = {"build_s": build_s, "bytes_per_vector": path.stat().st_size / len(matrix)}
        # Mapped, as a server has it; the file lives on while it is.
        return _Built(VectorIndex.load(path), facts | {"probes": index.probes})


def _masks(count: int, topic: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    rng = np.random.default_rng(2)
    for share in (0.1, 0.01, 0.001):
        yield f"{share:.1%} drawn by chance", rng.random(count) < share
    topics = rng.permutation(int(topic.max()) + 1)
    yield "every tenth topic", np.isin(topic, topics[: len(topics) // 10])


def _search_of(index: VectorIndex, mask: np.ndarray | None = None) -> Search:
    return lambda query: index.search(query, K, mask)[0]


# ---- The peers -------------------------------------------------------------------------------------------------


def _peers() -> dict[str, Callable[..., tuple[dict[str, Any], Any]]]:
    known = {"hnswlib": _hnswlib, "usearch": _usearch}
    return {name: peer for name, peer in known.items() if importlib.util.find_spec(name)}


def _hnswlib(
    matrix: np.ndarray, queries: np.ndarray, truth: np.ndarray, ef: list[int], threads: int
) -> tuple[dict[str, Any], Any]:
    import hnswlib

    graph = hnswlib.Index("ip", DIM)
    started = time.perf_counter()
    graph.init_index(len(matrix), M=LINKS, ef_construction=EF_CONSTRUCTION, random_seed=0)
    graph.add_items(matrix, num_threads=threads)
    build_s = time.perf_counter() - started
    graph.set_num_threads(1)
    points = []
    for each in ef:
        graph.set_ef(each)
        points.append({"ef": each} | _point(lambda query: graph.knn_query(query, K)[0], matrix, queries, truth))

    def among(query: np.ndarray, mask: np.ndarray) -> np.ndarray:
        rows = graph.knn_query(query, min(K, int(mask.sum())), filter=lambda row: bool(mask[row]))[0]
        return np.asarray(rows).astype(np.int64)

    facts = {"build_s": build_s, "bytes_per_vector": graph.index_file_size() / len(matrix), "points": points}
    return facts, among


def _usearch(
    matrix: np.ndarray, queries: np.ndarray, truth: np.ndarray, ef: list[int], threads: int
) -> tuple[dict[str, Any], Any]:
    from usearch.index import Index

    graph = Index(
        ndim=DIM, metric="ip", dtype="f16", connectivity=LINKS, expansion_add=EF_CONSTRUCTION, enable_key_lookups=False
    )
    started = time.perf_counter()
    graph.add(np.arange(len(matrix)), matrix, threads=threads)
    build_s = time.perf_counter() - started
    points = []
    for each in ef:
        graph.expansion_search = each

        def search(query: np.ndarray) -> np.ndarray:
            return np.asarray(graph.search(query[0], K, threads=1).keys).astype(np.int64)[None]

        points.append({"ef": each} | _point(search, matrix, queries, truth))
    return {"build_s": build_s, "bytes_per_vector": graph.serialized_length / len(matrix), "points": points}, None


# ---- Measuring -------------------------------------------------------------------------------------------------


def _point(search: Search, matrix: np.ndarray, queries: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Recall and speed; what is as near as the hundredth nearest counts, to the rounding of float32."""
    found = np.concatenate([search(query[None]) for query in queries])
    scores = np.einsum("qkd,qd->qk", matrix[found], queries)
    recall = float(np.mean((found >= 0) & (scores >= truth[:, None] - 1e-5)))
    return {"recall": recall, "queries_per_s": _queries_per_s(search, queries)}


def _queries_per_s(search: Search, queries: np.ndarray) -> float:
    """Of the quickest of three turns: others work on these machines too."""
    return max(len(queries) / _seconds(search, queries) for _ in range(3))


def _seconds(search: Search, queries: np.ndarray) -> float:
    started = time.perf_counter()
    for query in queries:
        search(query[None])
    return time.perf_counter() - started


def _filtered(search: Search, matrix: np.ndarray, queries: np.ndarray, bounds: np.ndarray) -> dict[str, float]:
    """bounds: (q, k) the scores of what is to be found, of the first q queries."""
    queries = queries[: len(bounds)]
    right = 0
    for query, bound in zip(queries, bounds, strict=True):
        found = search(query[None])[0]
        right += int((matrix[found[found >= 0]] @ query >= bound[-1] - 1e-5).sum())
    wanted = len(queries) * bounds.shape[1]
    return {"recall": right / wanted, "ms": 1000 * _seconds(search, queries) / len(queries)}


def _beside(ours: dict[str, float], points: list[dict[str, float]]) -> dict[str, float | None]:
    enough = [point["queries_per_s"] for point in points if point["recall"] >= ours["recall"]]
    fastest = max(enough, default=None)
    return {"queries_per_s": fastest, "ratio": ours["queries_per_s"] / fastest if fastest else None}


def _one_thread() -> threadpool_limits:
    use_threads(1)
    return threadpool_limits(1)


if __name__ == "__main__":
    main(app)
