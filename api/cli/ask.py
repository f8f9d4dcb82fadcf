"""`watchnext recommend|similar|search|why`: the questions of the API, asked without a server."""

import re
import time
from typing import Annotated, Any

import typer

from api.cli.workspace import JsonOption, Workspace, show

LimitOption = Annotated[int, typer.Option("-n", "--limit", min=1, max=100)]


def recommend(
    user: str,
    limit: LimitOption = 10,
    label: Annotated[list[str] | None, typer.Option(help="only with one of these labels")] = None,
    country: Annotated[str | None, typer.Option(help="of the viewer, two letters")] = None,
    json: JsonOption = False,
) -> None:
    """Recommend videos to a viewer, with reasons."""
    from api.answer import items_of, release_facts
    from recommender.pipeline.stages import Query

    work = Workspace()
    engine = work.engine
    profile = engine.profile(work.store.events.history(user))
    if not user:
        raise typer.BadParameter("a viewer's id is not empty", param_hint="USER")
    if country is not None and not re.fullmatch("[A-Za-z]{2}", country):
        raise typer.BadParameter(f"{country!r} is not a country of two letters", param_hint="--country")
    query = Query(profile, limit, time.time(), country=country.upper() if country else None, labels=tuple(label or ()))
    slate, trace = engine.recommend(query)
    items = items_of(engine, query, slate, trace)
    rows = [_row(item, item["reason"]["text"]) for item in items]
    if not items:
        typer.echo("nothing to recommend: add videos, then run `watchnext refresh`", err=True)
    value = {"user_id": user, "items": items, "warnings": trace.warnings, "release": release_facts(engine)}
    show(value, json, ("rank", "video", "title", "labels", "score", "why"), rows)


def similar(
    video: str,
    limit: LimitOption = 10,
    by: Annotated[str, typer.Option(help="visual, cowatch or both")] = "both",
    json: JsonOption = False,
) -> None:
    """Find videos like a video, by looks, by who watches them, or both."""
    from api.answer import NO_REASONS, NOBODY, items_of, release_facts
    from recommender.pipeline.stages import Query, Trace

    if by not in ("visual", "cowatch", "both"):
        raise typer.BadParameter(f"{by!r} is none of visual, cowatch, both", param_hint="--by")
    engine = Workspace().engine
    try:
        query, trace = Query(NOBODY, limit, time.time()), Trace()
        found = engine.similar(video, query, by, trace)  # type: ignore[arg-type]
    except KeyError:
        raise typer.BadParameter(f"the served release has no video {video!r}; see `watchnext videos list`") from None
    items = items_of(engine, query, found, trace, skip=NO_REASONS)
    value = {"video_id": video, "items": items, "warnings": trace.warnings, "release": release_facts(engine)}
    rows = [_row(item, ", ".join(item["sources"])) for item in items]
    show(value, json, ("rank", "video", "title", "labels", "score", "found by"), rows)


def search(
    text: str,
    limit: LimitOption = 10,
    mode: Annotated[
        str, typer.Option(help="text: in what is written of them; pixels: in what is seen of them; auto: both")
    ] = "auto",
    json: JsonOption = False,
) -> None:
    """Find videos by what is asked in words, among those that may be shown."""
    from pydantic import ValidationError

    from api.errors import Problem
    from api.schemas.search import SearchRequest
    from api.searching import Searching
    from data.schema import first_error

    if not text.strip():
        raise typer.BadParameter("there is nothing to look for", param_hint="TEXT")
    try:
        asked = SearchRequest(text=text, limit=limit, mode=mode)  # type: ignore[arg-type]
    except ValidationError as error:
        field, message = first_error(error)
        raise typer.BadParameter(message, param_hint="TEXT" if field == "text" else f"--{field}") from None
    work = Workspace()
    engine, settings = work.engine, work.settings
    searching = Searching(settings.search, settings.embed, work.home, work.store, lambda: engine, patient=True)
    try:
        found = searching.search(asked)
    except Problem as problem:
        raise typer.BadParameter(problem.detail, param_hint="TEXT") from None
    finally:
        searching.encoder.close()
    for warning in found["warnings"]:
        typer.echo(warning, err=True)
    rows = [_row(item, ", ".join(item["sources"])) for item in found["items"]]
    show({"text": text, **found}, json, ("rank", "video", "title", "labels", "score", "found in"), rows)


def why(user: str, video: str, json: JsonOption = False) -> None:
    """Say why a video is in a viewer's list, or what keeps it out."""
    from recommender.pipeline.stages import Query
    from recommender.why import why as explained

    work = Workspace()
    engine = work.engine
    query = Query(engine.profile(work.store.events.history(user)), 100, time.time())
    try:
        found = explained(engine, query, video)
    except KeyError:
        raise typer.BadParameter(f"the served release has no video {video!r}; see `watchnext videos list`") from None
    rows: list[tuple[object, object]] = [(f"source {name}", _facts(facts)) for name, facts in found["sources"].items()]
    rows += [
        ("removed by", ", ".join(found["removed_by"]) or "nothing"),
        ("kept out by", found["kept_out_by"] or "nothing"),
        ("rank among candidates", found["candidate_rank"] or "not found"),
        ("rank", found["rank"] or "not in the list"),
    ]
    show({"user_id": user, **found}, json, ("", f"{video} for {user}"), rows)


def _row(item: dict[str, Any], last: str) -> tuple[object, ...]:
    return (item["rank"], item["video_id"], item["title"], ", ".join(item["labels"]), f"{item['score']:.4f}", last)


def _facts(facts: dict[str, Any]) -> str:
    if not facts["found"]:
        return str(facts["because"])
    because = f", because of {facts['because_of']}" if facts["because_of"] else ""
    return f"rank {facts['rank']}, score {facts['score']:.4f}, weight {facts['weight']:.3f}{because}"
