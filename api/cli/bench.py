"""`watchnext bench NAME`: finds a benchmark in the repository's `benchmarks/` and runs it."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

import api

FOLDER = Path(api.__file__).parents[1] / "benchmarks"


def bench(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(help="which one; none: list them")] = None,
) -> None:
    """Run a benchmark: `bench NAME --help` tells its options."""
    names = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "__init__")
    if name in (None, "--help"):
        typer.echo("benchmarks: " + (", ".join(names) or "none here; they are in the source repository"))
        return
    if name not in names:
        raise typer.BadParameter(
            f"no benchmark {name!r}; there are {', '.join(names) or 'none: run from the source repository'}"
        )
    arguments = [sys.executable, "-m", f"benchmarks.{name}", *context.args]
    path = os.pathsep.join(filter(None, [str(FOLDER.parent), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(arguments, check=False, env=os.environ | {"PYTHONPATH": path})
    raise typer.Exit(done.returncode)
