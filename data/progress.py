"""Progress of long work as people see it: done/total, rate, time left. Knows nothing of the work."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

console = Console(stderr=True, highlight=False)


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        unit = task.fields.get("unit", "")
        return Text(f"{speed:,.1f} {unit}/s" if speed else f"- {unit}/s")


class Advance(Protocol):
    """Tells the bar that `done` more units are finished, and what is being done now where that changes."""

    def __call__(self, done: float = 1, doing: str | None = None, /) -> None: ...


@contextmanager
def progress(what: str, total: int | None, unit: str) -> Iterator[Advance]:
    """A progress bar on standard error; where that is no terminal, one line at the end.

    Yields a function to call with the number of units that were finished since the last call.
    """
    counted = 0.0
    if not sys.stderr.isatty():

        def count(done: float = 1, doing: str | None = None, /) -> None:
            nonlocal counted
            counted += done

        yield count
        console.print(f"{what}: {round(counted):,} {unit}")
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, speed_estimate_period=10) as bar:
        task = bar.add_task(what, total=total, unit=unit)

        def advance(done: float = 1, doing: str | None = None, /) -> None:
            bar.update(task, advance=done, description=what if doing is None else f"{what}: {doing}")

        yield advance
