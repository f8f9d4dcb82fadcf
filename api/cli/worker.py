"""`watchnext worker`: what has to be done again and again beside the servers."""

import logging
from typing import Annotated

import typer

from api.cli.workspace import JsonOption, Workspace, show_json


def worker(
    once: Annotated[bool, typer.Option("--once", help="do what is due now, say what was done, and exit")] = False,
    json: JsonOption = False,
) -> None:
    """Encode, refresh and follow the events until stopped; any number of workers share the work."""
    from api.worker import run_worker

    logging.getLogger("api.worker").setLevel(logging.INFO)
    report = run_worker(Workspace().settings, once)
    if json:
        show_json(report.as_dict())
    else:
        typer.echo(
            f"{report.encoded:,} encoded, {report.reused:,} reused, {sum(report.failed.values()):,} failed;"
            f" {len(report.releases):,} releases, {report.pulses:,} pulses"
        )
    if once and report.failures:
        raise typer.Exit(1)
