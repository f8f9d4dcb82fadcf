"""`watchnext events ...`: what viewers did."""

from pathlib import Path
from typing import Annotated

import typer

from api.cli.workspace import JsonOption, Workspace, show, show_json
from data.schema import to_rfc3339

app = typer.Typer(help="What viewers did.", no_args_is_help=True)


@app.command("import")
def import_(
    path: Annotated[Path, typer.Argument(help="a CSV, TSV, JSONL or Parquet file, or a MovieLens folder")],
    mapping: Annotated[
        list[str] | None, typer.Option("--map", help="FIELD=COLUMN: which column of the file is our field")
    ] = None,
    constants: Annotated[list[str] | None, typer.Option("--set", help="FIELD=VALUE: the same in every row")] = None,
    json: JsonOption = False,
) -> None:
    """Import events; bad rows are counted by reason and kept aside."""
    from data.importers import import_events, import_movielens

    work = Workspace()
    if path.is_dir():
        report = import_movielens(work.store, path, work.home.reports)
    else:
        pairs = _pairs(mapping or [], "--map"), _pairs(constants or [], "--set")
        report = import_events(work.store, path, work.home.reports, *pairs)
    if json:
        show_json(report.as_dict())
    else:
        typer.echo(report.summary())


@app.command()
def tail(
    limit: Annotated[int, typer.Option("-n", "--limit", min=1)] = 20,
    user: Annotated[str | None, typer.Option(help="only of this viewer")] = None,
    json: JsonOption = False,
) -> None:
    """Show the newest events."""
    rows = Workspace().store.events.tail(limit, user)
    columns = ("occurred_at", "user_id", "type", "value", "video_id", "surface")
    cells = [[to_rfc3339(row["occurred_at"]), *(row[name] for name in columns[1:])] for row in rows]
    show({"items": rows}, json, columns, cells)


def _pairs(texts: list[str], option: str) -> dict[str, str]:
    pairs = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name and equals and value):
            raise typer.BadParameter(f"{text!r} is not of the form NAME=VALUE", param_hint=option)
        pairs[name] = value
    return pairs
