"""Benchmarks: run by `watchnext bench NAME`, never as tests. Each prints its figures beside a floor or a peer."""

import sys

import typer

from api.cli import run


def main(app: typer.Typer) -> None:
    """Runs a benchmark with the arguments of this process, and exits as `watchnext` does."""
    run(app, sys.argv[1:])
