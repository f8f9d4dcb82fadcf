"""`watchnext videos ...` and `watchnext embed`: the catalogue and its encoding."""

from pathlib import Path
from typing import Annotated

import typer

from api.cli.workspace import JsonOption, Workspace, show, show_json

app = typer.Typer(help="The catalogue.", no_args_is_help=True)


@app.command()
def add(
    folder: Annotated[Path, typer.Argument(help="folder with video files, searched in depth")],
    labels: Annotated[
        Path | None, typer.Option(help="CSV with a column path and any of label, title, tags, ...")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Add the video files of a folder to the catalogue; `embed` encodes them."""
    from data.importers import import_folder

    work = Workspace()
    report = import_folder(work.store, folder, work.home.reports, labels)
    if json:
        show_json(report.as_dict())
    else:
        typer.echo(report.summary())


@app.command("list")
def list_videos(
    state: Annotated[str | None, typer.Option(help="pending, ready, failed or no_media")] = None,
    label: Annotated[str | None, typer.Option(help="only with this label")] = None,
    limit: Annotated[int, typer.Option(min=1)] = 50,
    after: Annotated[str, typer.Option(help="start behind this id")] = "",
    json: JsonOption = False,
) -> None:
    """List videos with their states and labels."""
    from data.schema import VideoState

    if state is not None and state not in list(VideoState):
        raise typer.BadParameter(f"no state {state!r}; there are {', '.join(VideoState)}", param_hint="--state")
    catalogue = Workspace().store.catalogue
    found = catalogue.page(after, limit, VideoState(state) if state else None, label)
    rows = [
        (each.id, each.title, each.state, each.reason, ", ".join(each.shown_labels), "yes" if each.hidden else "")
        for each in found
    ]
    value = {"counts": catalogue.counts(), "items": [each.model_dump() for each in found]}
    show(value, json, ("id", "title", "state", "reason", "labels", "hidden"), rows)
    if not json:
        typer.echo("  ".join(f"{name}: {count:,}" for name, count in sorted(catalogue.counts().items())))


@app.command("show")
def show_video(video: str, json: JsonOption = False) -> None:
    """Show all that is known of one video."""
    record = Workspace().store.catalogue.get(video)
    if record is None:
        raise _unknown(video)
    fields = record.model_dump()
    show(fields, json, ("field", "value"), list(fields.items()))


@app.command()
def hide(video: str) -> None:
    """Take a video down: with the next request no list has it."""
    _set_hidden(video, True)


@app.command()
def unhide(video: str) -> None:
    """Put a video back."""
    _set_hidden(video, False)


@app.command()
def retry(videos: Annotated[list[str] | None, typer.Argument(help="failed videos; none: all of them")] = None) -> None:
    """Give failed videos to the encoder again."""
    catalogue = Workspace().store.catalogue
    known = catalogue.get_many(videos or [])
    for name in videos or []:
        if name not in known:
            raise _unknown(name)
    typer.echo(f"{catalogue.retry(videos or None):,} pending again")


@app.command()
def remove(videos: Annotated[list[str], typer.Argument(help="ids")]) -> None:
    """Remove videos from the catalogue; their files and events stay."""
    work = Workspace()
    known = work.store.catalogue.get_many(videos)
    unknown = [name for name in videos if name not in known]
    if unknown:
        raise _unknown(unknown[0])
    typer.echo(f"{work.store.catalogue.remove(videos):,} removed")


def embed(json: JsonOption = False) -> None:
    """Encode the pending videos; goes on where an interrupted run stopped."""
    from embedder.batch import embed as run

    work = Workspace()
    report = run(work.store, work.home, work.settings.embed, labels=work.settings.labels)
    failed = {str(reason): count for reason, count in report.failed.items()}
    if json:
        show_json(
            {
                "encoder": report.encoder_id,
                "licence": report.licence,
                "encoded": report.encoded,
                "reused": report.reused,
                "failed": failed,
                "seconds": round(report.seconds, 2),
                "videos_per_s": round(report.videos_per_s, 2),
            }
        )
        return
    typer.echo(f"encoder {report.encoder_id}, licence of its weights: {report.licence}")
    reasons = f" ({', '.join(f'{count} {reason}' for reason, count in failed.items())})" if failed else ""
    typer.echo(
        f"{report.encoded:,} encoded, {report.reused:,} reused, {sum(failed.values()):,} failed{reasons}"
        f" in {report.seconds:.1f} s: {report.videos_per_s:.1f} videos/s"
    )


def _set_hidden(video: str, hidden: bool) -> None:
    if not Workspace().store.catalogue.set_hidden(video, hidden):
        raise _unknown(video)
    typer.echo(f"{video} is {'hidden' if hidden else 'shown'}")


def _unknown(video: str) -> typer.BadParameter:
    return typer.BadParameter(f"no video {video!r} in the catalogue; see `watchnext videos list`")
