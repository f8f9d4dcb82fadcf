"""`watchnext keys ...`: API keys. Without any, the service answers loopback only."""

from typing import Annotated

import typer

from api.cli.workspace import JsonOption, Workspace, show, show_json
from data.schema import to_rfc3339

app = typer.Typer(help="API keys.", no_args_is_help=True)


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="whose key it is")],
    role: Annotated[str, typer.Option(help="read, ingest or admin")] = "read",
    json: JsonOption = False,
) -> None:
    """Create a key. It is shown once; only its hash is kept."""
    try:
        key, secret = Workspace().store.keys.create(name, role)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--role") from None
    if json:
        show_json({**key.__dict__, "key": secret})
    else:
        typer.echo(secret)
        typer.echo(f"key {key.id} for {name}, role {role}; this is the only time that it is shown", err=True)


@app.command("list")
def list_keys(json: JsonOption = False) -> None:
    """List keys, without their secrets."""
    found = Workspace().store.keys.list()
    rows = [
        (key.id, key.name, key.role, to_rfc3339(key.created_at)[:19], "revoked" if key.revoked_at else "live")
        for key in found
    ]
    show({"items": [key.__dict__ for key in found]}, json, ("id", "name", "role", "created", "state"), rows)


@app.command()
def revoke(key: Annotated[str, typer.Argument(help="an id of `keys list`")]) -> None:
    """End a key; servers refuse it within seconds."""
    if not Workspace().store.keys.revoke(key):
        raise typer.BadParameter(f"no live key {key!r}; see `watchnext keys list`")
    typer.echo(f"key {key} is revoked")
