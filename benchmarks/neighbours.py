"""Do neighbours look alike? `watchnext bench neighbours --data FOLDER` on labelled clips.

The clips of a folder with a MANIFEST.csv (columns path, label, group) go through the real catalogue, encoder and
index. For each clip its nearest clip of another group is looked up: how often does it carry the same label? Chance
stands beside it: the share of same-label clips among all that could have been found. A family is what stands before
the first `_` of a label. A clip's caption is its title, for encoders that read; clips that an encoder has nothing to
go by (no sound) are left out and counted.
"""

import tempfile
from pathlib import Path
from typing import Annotated, Any, get_args

import numpy as np
import orjson
import pandas as pd
import typer
from pydantic import ValidationError

from benchmarks import main
from data.embeddings import EmbeddingTable
from data.home import Home
from data.importers import import_folder
from data.store import Store
from embedder.batch import EmbedSettings, embed
from embedder.encoders import EncoderSettings, Pooling
from recommender.index import VectorIndex

app = typer.Typer()


@app.command()
def neighbours(
    data: Annotated[Path, typer.Option(help="the folder with MANIFEST.csv")],
    part: Annotated[str, typer.Option(help="folder below it whose clips are taken")] = "dev",
    encoder: Annotated[
        list[str] | None, typer.Option(help="NAME/POOLING, as often as wanted; none: the default one")
    ] = None,
    parts: Annotated[str, typer.Option(help="of `fused`: NAME=WEIGHT,NAME=WEIGHT; none: the default ones")] = "",
    json: Annotated[bool, typer.Option("--json", help="one JSON object on standard output")] = False,
) -> None:
    """Nearest-neighbour label agreement by family, a clip's own group left out."""
    results = [measure(data, part, _settings(name, parts)) for name in encoder or [""]]
    if json:
        value = {"encoders": results} if encoder else results[0]
        typer.echo(orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY).decode())
        return
    for result in results:
        typer.echo(f"{result['clips']} clips at {result['videos_per_s']:.1f} videos/s with {result['encoder']}")
        for family, figures in result["families"].items():
            typer.echo(
                f"{family:<6} {figures['clips']:>4} clips  agreement {figures['agreement']:.3f}"
                f"  chance {figures['chance']:.3f}  ratio {figures['ratio']:.1f}"
            )


def _settings(name: str, parts: str) -> EncoderSettings:
    values: dict[str, Any] = {"name": name} if name else {}
    encoder, _, pooling = name.rpartition("/")
    if pooling in get_args(Pooling):
        values = {"name": encoder, "pooling": pooling}
    try:
        if parts:
            values["parts"] = {part.split("=")[0]: float(part.split("=")[1]) for part in parts.split(",")}
        return EncoderSettings.model_validate(values)
    except ValidationError as error:
        raise typer.BadParameter(error.errors()[0]["msg"], param_hint="--encoder") from error
    except (IndexError, ValueError) as error:
        raise typer.BadParameter("it is NAME=WEIGHT,NAME=WEIGHT", param_hint="--parts") from error


def measure(data: Path, part: str, settings: EncoderSettings | None = None) -> dict[str, Any]:
    try:
        manifest = pd.read_csv(data / "MANIFEST.csv")
    except FileNotFoundError as error:
        raise typer.BadParameter(f"{data} has no MANIFEST.csv", param_hint="--data") from error
    with tempfile.TemporaryDirectory(prefix="watchnext-bench-") as scratch:
        home = Home.at(scratch)
        store = Store.open(home.database_url)
        table = Path(scratch) / "manifest.csv"
        manifest[["path", "label"]].assign(title=manifest.get("caption", "")).to_csv(table, index=False)
        import_folder(store, data / part, home.reports, table)
        report = embed(store, home, EmbedSettings(encoder=settings or EncoderSettings()))
        (vectors,) = EmbeddingTable.all(home.embeddings)
        rows = manifest[manifest["path"].str.startswith(f"{part}/")].copy()
        rows["id"] = rows["path"].str.removeprefix(f"{part}/").str.replace("/", "~")
        rows = rows.set_index("id").loc[vectors.ids]
        matrix = np.array(vectors.matrix)
        store.close()
    family = rows["label"].str.split("_").str[0].to_numpy()
    return {
        "clips": len(rows),
        "encoder": report.encoder_id,
        "videos_per_s": report.videos_per_s,
        "failed": sum(report.failed.values()),
        "families": {name: _agreement(matrix[family == name], rows[family == name]) for name in sorted(set(family))},
    }


def _agreement(matrix: np.ndarray, rows: pd.DataFrame) -> dict[str, float]:
    """Over one family: agreement of the nearest clip of another group, and what chance would give."""
    label, group = rows["label"].to_numpy(), rows["group"].to_numpy()
    index = VectorIndex.build(matrix, np.arange(len(rows)))
    agree, chance = [], []
    for row in range(len(rows)):
        others = group != group[row]
        nearest, _ = index.search(matrix[row : row + 1], 1, others)
        agree.append(label[nearest[0, 0]] == label[row])
        chance.append((label[others] == label[row]).mean())
    agreement, by_chance = float(np.mean(agree)), float(np.mean(chance))
    return {"clips": len(rows), "agreement": agreement, "chance": by_chance, "ratio": agreement / by_chance}


if __name__ == "__main__":
    main(app)
