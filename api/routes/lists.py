"""Lists beside the main one: a home page, many viewers' lists in one call, what to watch after a video."""

from typing import Any

from flask import Blueprint, g

from api.operations import operation
from api.routes import service
from api.schemas.lists import BatchAnswer, BatchRequest, HomeAnswer, HomeQuery, NextAnswer, NextQuery

blueprint = Blueprint("lists", __name__, url_prefix="/v1")


@operation(blueprint, "GET", "/users/<path:user_id>/home", role="read", query=HomeQuery, answer=HomeAnswer)
def get_home(user_id: str, query: HomeQuery) -> dict[str, Any]:
    """A page of titled rows for a viewer, with no video twice; an unknown viewer gets a good page too."""
    return service().home_pages.home(user_id, query, g.request_id)


@operation(blueprint, "POST", "/recommendations:batch", role="read", body=BatchRequest, answer=BatchAnswer)
def post_recommendations_batch(body: BatchRequest) -> dict[str, Any]:
    """Lists for up to 1,000 viewers, with a result for each of them in order."""
    return service().batches.recommend(body, g.request_id)


@operation(blueprint, "GET", "/videos/<path:video_id>/next", role="read", query=NextQuery, answer=NextAnswer)
def get_next(video_id: str, query: NextQuery) -> dict[str, Any]:
    """What to watch after a video: the next episode first, then what is watched after it and what is alike."""
    return service().watch_next(video_id, query)
