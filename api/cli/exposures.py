"""`watchnext exposures ...`: what viewers were shown."""

from typing import Annotated

import typer

from api.cli.workspace import JsonOption, Workspace, show
from data.schema import to_rfc3339

app = typer.Typer(help="What viewers were shown.", no_args_is_help=True)


@app.command("list")
def list_exposures(
    limit: Annotated[int, typer.Option("-n", "--limit", min=1)] = 20,
    user: Annotated[str | None, typer.Option(help="only of this viewer")] = None,
    json: JsonOption = False,
) -> None:
    """List what was shown, newest first; with --json also scores, propensities and what the ranker saw."""
    found = list(Workspace().store.exposures.newest(limit, user))
    columns = ("shown_at", "request_id", "user_id", "surface", "release", "first_rank", "videos")
    rows = [
        [to_rfc3339(each["shown_at"]), *(each[name] for name in columns[1:-1]),
         " ".join(str(item["video_id"]) for item in each["items"])]
        for each in found
    ]  # fmt: skip
    show({"items": found}, json, columns, rows)
