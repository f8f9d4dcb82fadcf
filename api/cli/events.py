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


@app.command()
def erase(
    user: Annotated[str, typer.Argument(help="a viewer")],
    yes: Annotated[bool, typer.Option("--yes", help="do not ask")] = False,
    json: JsonOption = False,
) -> None:
    """Erase all that is known of a viewer, and print a receipt."""
    from api.embedded_redis import socket_path
    from api.service import Service

    work = Workspace()
    if not yes:
        typer.confirm(f"Erase all that is known of {user}? It does not come back", abort=True, err=True)
    # A server that is not running has nothing in its memory.
    socket = socket_path(work.home)
    embedded = f"unix://{socket}" if socket.exists() else None
    receipt = Service(work.settings, work.home, work.store, work.settings.redis_url or embedded).viewers.erase(user)
    if json:
        show_json(receipt)
        return
    erased = receipt["erased"]
    typer.echo(
        f"{user} is erased: {erased['events']:,} events, {erased['exposures']:,} shown lists;"
        f" receipt {receipt['receipt_id']} of {receipt['erased_at']}"
    )
    typer.echo(f"release {receipt['releases']['served']} is served; the next one {receipt['releases']['next']}")
    for what in receipt["remains"]:
        typer.echo(what)


def _pairs(texts: list[str], option: str) -> dict[str, str]:
    pairs = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name and equals and value):
            raise typer.BadParameter(f"{text!r} is not of the form NAME=VALUE", param_hint=option)
        pairs[name] = value
    return pairs
