"""`watchnext rules ...`: what editors want of the lists, with dates."""

from typing import Annotated

import typer
from pydantic import ValidationError

from api.cli.workspace import JsonOption, Workspace, show, show_json
from data.schema import Rule, RuleRecord, first_error, to_rfc3339

app = typer.Typer(help="Editors' rules: pins, boosts and blocks.", no_args_is_help=True)


@app.command()
def add(
    kind: Annotated[str, typer.Argument(help="pin, boost or block")],
    video: Annotated[str | None, typer.Option(help="what it is about: a video")] = None,
    label: Annotated[str | None, typer.Option(help="or all videos with a label")] = None,
    creator: Annotated[str | None, typer.Option(help="or all of a creator")] = None,
    series: Annotated[str | None, typer.Option(help="or all of a series")] = None,
    factor: Annotated[float | None, typer.Option(help="of a boost: scores are multiplied by it")] = None,
    position: Annotated[int | None, typer.Option(help="of a pin: its place, 1 is the first")] = None,
    surface: Annotated[str | None, typer.Option(help="only there; none: everywhere")] = None,
    country: Annotated[str | None, typer.Option(help="only for viewers there, two letters")] = None,
    from_: Annotated[str | None, typer.Option("--from", help="first moment: 2026-01-31T20:15:00Z")] = None,
    until: Annotated[str | None, typer.Option(help="first moment at which it no longer holds")] = None,
    note: Annotated[str, typer.Option(help="why, for other editors")] = "",
    json: JsonOption = False,
) -> None:
    """Add a rule; running servers follow with the next request."""
    fields = {
        "kind": kind, "video": video, "label": label, "creator": creator, "series": series, "factor": factor,
        "position": position, "surface": surface, "country": country, "from": from_, "until": until, "note": note,
    }  # fmt: skip
    try:
        record = Workspace().store.rules.add(Rule.model_validate(fields))
    except ValidationError as error:
        field, message = first_error(error)
        raise typer.BadParameter(message if field == "row" else f"{field}: {message}") from None
    except ValueError as error:
        raise typer.BadParameter(f"{error}; see `watchnext videos list`") from None
    if json:
        show_json(_as_dict(record))
    else:
        typer.echo(f"rule {record.id}: {_summary(record)}")


@app.command("list")
def list_rules(json: JsonOption = False) -> None:
    """List rules, oldest first, also those whose time has passed or has not come."""
    found = Workspace().store.rules.list()
    columns = ("id", "what", "surface", "country", "from", "until", "note")
    rows = [
        (each.id, _summary(each), each.surface, each.country, _moment(each.from_), _moment(each.until), each.note)
        for each in found
    ]
    show({"items": [_as_dict(each) for each in found]}, json, columns, rows)


@app.command()
def remove(rule: Annotated[str, typer.Argument(help="an id of `rules list`")]) -> None:
    """End a rule; running servers follow with the next request."""
    if not Workspace().store.rules.remove(rule):
        raise typer.BadParameter(f"no rule {rule!r}; see `watchnext rules list`")
    typer.echo(f"rule {rule} is removed")


def _summary(rule: RuleRecord) -> str:
    how = {"pin": f" at {rule.position}", "boost": f" by {rule.factor:g}" if rule.factor else ""}
    return f"{rule.kind.value} {' '.join(rule.target)}{how.get(rule.kind.value, '')}"


def _as_dict(rule: RuleRecord) -> dict[str, object]:
    return {**rule.model_dump(by_alias=True), "from": _moment(rule.from_), "until": _moment(rule.until)}


def _moment(seconds: float | None) -> str | None:
    return None if seconds is None else to_rfc3339(seconds)
