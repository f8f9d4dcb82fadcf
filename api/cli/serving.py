"""`watchnext serve`: the HTTP service, with its embedded Redis where no other is given."""

from typing import Annotated

import typer

from api.cli.workspace import Workspace


def serve(
    host: Annotated[str | None, typer.Option(help="address; beyond loopback only with an API key")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65_535)] = None,
    workers: Annotated[int | None, typer.Option(min=1, max=64, help="processes")] = None,
) -> None:
    """Serve the API and the storefront until stopped."""
    from api.server import run_server

    settings = Workspace().settings
    given = {"host": host, "port": port, "workers": workers}
    settings.server = settings.server.model_copy(
        update={name: value for name, value in given.items() if value is not None}
    )
    run_server(settings)
