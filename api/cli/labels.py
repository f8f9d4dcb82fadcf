"""`watchnext labels ...`: category labels learnt from the catalogue's labelled videos."""

from collections import Counter
from typing import TYPE_CHECKING, Annotated

import typer

from api.cli.workspace import JsonOption, Workspace, show, show_json

if TYPE_CHECKING:
    from data.embeddings import EmbeddingTable

app = typer.Typer(help="Category labels.", no_args_is_help=True)


@app.command()
def train(json: JsonOption = False) -> None:
    """Learn labels from the labelled videos and give them to every encoded one."""
    from embedder.labels import apply_labels, train_labels

    work = Workspace()
    table = newest_table(work)
    report = train_labels(work.store, table, work.home, work.settings.labels)
    labelled = apply_labels(work.store, table, report.head, work.settings.labels)
    if json:
        show_json(
            {
                "examples": report.examples,
                "left_out": report.left_out,
                "accuracy": report.accuracy,
                "most_common": report.most_common,
                "labelled_videos": labelled,
            }
        )
        return
    accuracy = "not measurable with so few" if report.accuracy is None else f"{report.accuracy:.3f}"
    typer.echo(
        f"{len(report.examples)} labels from {sum(report.examples.values()):,} videos;"
        f" cross-validated accuracy {accuracy} (always the most common: {report.most_common:.3f});"
        f" {labelled:,} videos labelled"
    )
    for label, count in report.left_out.items():
        typer.echo(f"left out: {label} ({count} videos, {work.settings.labels.min_examples} are needed)")


@app.command("list")
def list_labels(json: JsonOption = False) -> None:
    """Count the videos by label: the owners', and the predicted ones where owners gave none."""
    given: Counter[str] = Counter()
    predicted: Counter[str] = Counter()
    for record in Workspace().store.catalogue.all():
        (given if record.labels else predicted).update(record.shown_labels)
    names = sorted(given | predicted)
    value = {"items": [{"label": name, "given": given[name], "predicted": predicted[name]} for name in names]}
    show(value, json, ("label", "given", "predicted"), [(name, given[name], predicted[name]) for name in names])


@app.command()
def evaluate(
    by: Annotated[str, typer.Option(help="hold out whole groups: video, creator or series")] = "video",
    json: JsonOption = False,
) -> None:
    """Measure label accuracy by cross-validation, without changing anything."""
    from embedder.labels import train_labels

    if by not in ("video", "creator", "series"):
        raise typer.BadParameter(f"{by!r} is none of video, creator, series", param_hint="--by")
    work = Workspace()
    groups = {record.id: getattr(record, by, None) or record.id for record in work.store.catalogue.all()}
    report = train_labels(work.store, newest_table(work), work.home, work.settings.labels, groups, save=False)
    if json:
        show_json({"accuracy": report.accuracy, "most_common": report.most_common, "examples": report.examples})
        return
    accuracy = "not measurable with so few" if report.accuracy is None else f"{report.accuracy:.3f}"
    typer.echo(
        f"accuracy {accuracy} on held-out groups by {by} (always the most common label: {report.most_common:.3f})"
    )


def newest_table(work: Workspace) -> "EmbeddingTable":
    """The embedding table of the configured encoder."""
    from data.embeddings import EmbeddingTable
    from embedder.encoders import load_encoder

    encoder = load_encoder(work.settings.embed.encoder, work.home, work.settings.embed.decode)
    return EmbeddingTable.create(work.home.embeddings, encoder.id, encoder.dim)
