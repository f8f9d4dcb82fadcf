"""The command line: `watchnext`. Commands by noun, each in its own file; help on every level.

An error is one line on standard error and exit code 2; what a command finds goes to standard output, with `--json`
as one JSON object. Heavy libraries are imported by the commands that need them, so that help is quick.
"""

import logging
import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer
from typer.exceptions import TyperException

from api.cli import ask, bench, demo, doctor, events, exposures, keys, labels, releases, rules, serving, videos, worker
from api.cli.workspace import HOME_VARIABLE, known_problems

app = typer.Typer(
    name="watchnext",
    help="What to watch next: an open recommendation service for video.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(videos.app, name="videos")
app.add_typer(events.app, name="events")
app.add_typer(exposures.app, name="exposures")
app.add_typer(labels.app, name="labels")
app.add_typer(releases.app, name="releases")
app.add_typer(rules.app, name="rules")
app.add_typer(keys.app, name="keys")
app.command()(demo.demo)
app.command()(doctor.doctor)
app.command()(videos.embed)
app.command()(releases.refresh)
app.command()(ask.recommend)
app.command()(ask.similar)
app.command()(ask.search)
app.command()(ask.why)
app.command()(serving.serve)
app.command()(worker.worker)
app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []})(
    bench.bench
)


@app.callback()
def options(
    home: Annotated[str | None, typer.Option(help="folder for everything that is kept; WATCHNEXT_HOME, ./var")] = None,
    verbose: Annotated[bool, typer.Option("--verbose", help="log what happens inside")] = False,
) -> None:
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    if home is not None:
        os.environ[HOME_VARIABLE] = home


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line and exits: 0 done, 1 a check found something, 2 an error."""
    run(app, _home_first(list(sys.argv[1:] if arguments is None else arguments)))


def run(app: typer.Typer, arguments: Sequence[str]) -> None:
    """Runs an app and exits; what people can do something about is told in one line."""
    try:
        code = app(args=list(arguments), standalone_mode=False)
    except TyperException as error:
        _fail(error.format_message())
    except typer.Abort:
        _fail("stopped")
    except KeyboardInterrupt:
        typer.echo("stopped; the same command goes on where it was", err=True)
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)
    except SystemExit:
        # What follows knows every floor, which takes seconds.
        raise
    except known_problems() as error:
        _fail(str(error))
    sys.exit(code if isinstance(code, int) else 0)


def _home_first(arguments: list[str]) -> list[str]:
    """`--home` may stand anywhere: moves it in front of the command."""
    front: list[str] = []
    rest: list[str] = []
    remaining = iter(arguments)
    for argument in remaining:
        if argument == "--home":
            front += [argument, *([value] if (value := next(remaining, None)) is not None else [])]
        elif argument.startswith("--home="):
            front.append(argument)
        else:
            rest.append(argument)
    return front + rest


def _fail(message: str) -> None:
    typer.echo("error: " + " ".join(message.split()), err=True)
    sys.exit(2)
