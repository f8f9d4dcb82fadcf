"""How long does it take to know a viewer? `watchnext bench foldin`: our fold-in beside implicit's own.

MovieLens-1M's size (6,040 viewers x 3,416 videos), 64 factors, a history of 50. implicit's `recalculate_user` is
the peer in the same run; the largest difference between the two recommendations' scores is printed beside it.
"""

import time
from collections.abc import Callable
from typing import Annotated

import numpy as np
import orjson
import scipy.sparse as sp
import typer
from implicit.als import AlternatingLeastSquares
from threadpoolctl import threadpool_limits

from benchmarks import main
from recommender.collaborative import LatentFactors

app = typer.Typer()
SETTINGS = {"factors": 64, "regularization": 50.0, "alpha": 5.0}


@app.command()
def foldin(
    turns: Annotated[int, typer.Option(min=10)] = 300,
    json: Annotated[bool, typer.Option("--json", help="one JSON object on standard output")] = False,
) -> None:
    """Fold-in of one viewer: ours, implicit's, and the ratio."""
    result = measure(turns)
    if json:
        typer.echo(orjson.dumps(result, option=orjson.OPT_INDENT_2).decode())
        return
    typer.echo(
        f"fold-in {result['ours_us']:.0f} us (with the scores of all videos {result['ours_with_scores_us']:.0f} us),"
        f" implicit {result['implicit_us']:.0f} us, ratio {result['ratio']:.1f};"
        f" largest difference of scores {result['largest_difference']:.1e}"
    )


def measure(turns: int) -> dict[str, float]:
    """Medians in microseconds, the ratio, and the largest difference between the scores of the two."""
    rng = np.random.default_rng(0)
    matrix = sp.random(6_040, 3_416, 0.048, format="csr", random_state=rng, dtype=np.float32)
    with threadpool_limits(1, "blas"):
        model = AlternatingLeastSquares(**SETTINGS, iterations=3, random_state=0)
        model.fit(matrix, show_progress=False)
        ours = LatentFactors(np.array(model.item_factors), SETTINGS["regularization"], SETTINGS["alpha"])
        columns = np.sort(rng.choice(3_416, 50, replace=False)).astype(np.int64)
        weights = rng.random(50).astype(np.float32) + 0.1
        row = sp.csr_matrix((weights, (np.zeros(50, np.int64), columns)), (1, 3_416))
        scores = ours.scores(columns, weights)
        found, theirs = model.recommend(0, row, N=100, recalculate_user=True, filter_already_liked_items=False)
        result = {
            "ours_us": _median(lambda: ours.fold_in(columns, weights), turns),
            "ours_with_scores_us": _median(lambda: ours.scores(columns, weights), turns),
            "implicit_us": _median(lambda: model.recalculate_user(0, row), turns),
            "largest_difference": float(np.abs(scores[found] - theirs).max()),
        }
    result["ratio"] = result["implicit_us"] / result["ours_us"]
    return result


def _median(run: Callable[[], object], turns: int) -> float:
    times = []
    for _ in range(turns):
        started = time.perf_counter()
        run()
        times.append(time.perf_counter() - started)
    return float(np.median(times) * 1e6)


if __name__ == "__main__":
    main(app)
