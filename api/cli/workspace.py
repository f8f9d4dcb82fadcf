"""What commands share: the home and database that they work on, and how they show what they found."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer
from rich.console import Console
from rich.table import Table

from data.home import Home

if TYPE_CHECKING:
    from api.settings import Settings
    from data.store import Store
    from recommender.engine import Engine

HOME_VARIABLE = "WATCHNEXT_HOME"
JsonOption = Annotated[bool, typer.Option("--json", help="one JSON object on standard output")]
out = Console(highlight=False)


@dataclass
class Workspace:
    """Opens what a command asks for, and no more."""

    @cached_property
    def settings(self) -> "Settings":
        from api.settings import load_settings

        return load_settings()

    @cached_property
    def home(self) -> Home:
        return self.settings.open_home()

    @cached_property
    def store(self) -> "Store":
        from data.store import Store

        return Store.open(self.settings.database(self.home))

    @cached_property
    def engine(self) -> "Engine":
        from recommender.engine import Engine

        engine = Engine.open(self.home, self.store, self.settings.recommender)
        engine.prepare()
        return engine


def known_problems() -> tuple[type[Exception], ...]:
    """Errors whose message is made for people: shown in one line instead of a traceback."""
    from api.settings import SettingsError
    from data.files import CorruptFileError
    from data.importers import ImportProblem
    from data.store import StoreError
    from embedder.encoders import EncoderError
    from embedder.isolation import WorkerStartError
    from embedder.labels import TooFewLabelsError
    from recommender.building import RefreshError
    from recommender.release import ReleaseError

    return (
        SettingsError,
        CorruptFileError,
        ImportProblem,
        StoreError,
        EncoderError,
        WorkerStartError,
        TooFewLabelsError,
        RefreshError,
        ReleaseError,
        OSError,
    )


def show_json(value: object) -> None:
    typer.echo(orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY, default=str).decode())


def show_table(columns: Sequence[str], rows: Sequence[Sequence[object]], title: str | None = None) -> None:
    table = Table(*columns, title=title, title_justify="left", header_style="bold")
    for row in rows:
        table.add_row(*("" if cell is None else str(cell) for cell in row))
    if not os.isatty(1):
        # A pipe has no width: nothing is cut off for it.
        Console(width=250, highlight=False).print(table)
        return
    out.print(table)


def show(
    value: Mapping[str, Any] | Sequence[Any], as_json: bool, columns: Sequence[str], rows: Sequence[Sequence[object]]
) -> None:
    """`value` as JSON, or `rows` as a table."""
    if as_json:
        show_json(value)
    else:
        show_table(columns, rows)
