"""Quality of the served list on real data: `watchnext bench quality --task TASK --data FOLDER`.

ml1m-loo: MovieLens-1M, leave-one-out (the literature's split); ml1m-loo-transformer: the same with the sequential
transformer, whose training takes half an hour on two cores. ml1m-rolling: MovieLens-1M, rolling windows: what
viewers rate in the weeks after each of four refreshes; ml1m-sizes: the same by how much models keep of each video.
tiktok: micro-videos with very short histories. cold: movies that nobody has rated yet, known by their trailers. FOLDER
holds `ml-1m`, `tiktok-diffmm` and `mmtf14k-subset`. What each task measures, and how, stands in its room in
`benchmarks/quality_tasks`.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from benchmarks import main
from benchmarks.quality_tasks import cold, movielens, tiktok

app = typer.Typer()
#: By the task's name: the file that it needs in the data folder, and what measures it.
TASKS: dict[str, tuple[str, Callable[[Path], dict[str, Any]]]] = {
    "ml1m-loo": (f"ml-1m/{movielens.RATINGS}", lambda data: movielens.leave_one_out(data / "ml-1m")),
    "ml1m-loo-transformer": (
        f"ml-1m/{movielens.RATINGS}",
        lambda data: movielens.leave_one_out(data / "ml-1m", movielens.with_transformer()),
    ),
    "ml1m-rolling": (f"ml-1m/{movielens.RATINGS}", lambda data: movielens.rolling(data / "ml-1m")),
    "ml1m-sizes": (f"ml-1m/{movielens.RATINGS}", lambda data: movielens.sizes(data / "ml-1m")),
    "tiktok": ("tiktok-diffmm/train.npz", lambda data: tiktok.measure(data / "tiktok-diffmm")),
    "cold": ("mmtf14k-subset/train_features.tsv", cold.measure),
}


@app.command()
def quality(
    data: Annotated[Path, typer.Option(help="the folder of the data sets")],
    task: Annotated[str, typer.Option(help=", ".join(TASKS))] = "ml1m-loo",
    json: Annotated[bool, typer.Option("--json", help="one JSON object on standard output")] = False,
) -> None:
    """Quality of the served list on real data."""
    if task not in TASKS:
        raise typer.BadParameter(f"no task {task!r}; there are {', '.join(TASKS)}")
    needed, measure = TASKS[task]
    if not (data / needed).is_file():
        raise typer.BadParameter(f"{data} has no {needed}")
    result = measure(data)
    if json:
        typer.echo(orjson.dumps(result, option=orjson.OPT_INDENT_2).decode())
        return
    if "served" in result:
        _line("served list", result["served"])
    for name, figures in result["models"].items():
        _line(name, figures)
    if "gain" in result:
        low, high = result["gain_95"]
        typer.echo(f"gain over {result['best_single_model']}: {result['gain']:+.4f} [{low:+.4f}, {high:+.4f}]")


def _line(name: str, figures: dict[str, Any]) -> None:
    """NAME and every single number of its figures; an interval behind the number that it belongs to."""
    shown = [
        f"{figure} {value:.4f}"
        + ("[{:.4f}, {:.4f}]".format(*figures[f"{figure}_95"]) if f"{figure}_95" in figures else "")
        for figure, value in figures.items()
        if isinstance(value, float)
    ]
    typer.echo(f"{name:<24} " + "  ".join(shown))


if __name__ == "__main__":
    main(app)
