"""What next, what is similar, and why."""

from typing import Any

from flask import Blueprint, g, request

from api.operations import operation
from api.routes import DEADLINE, asked_budget, service
from api.schemas.recommendations import (
    RecommendationAnswer,
    RecommendationQuery,
    RecommendationRequest,
    SimilarAnswer,
    SimilarQuery,
    WhyAnswer,
    WhyQuery,
)
from api.service import as_request

blueprint = Blueprint("recommendations", __name__, url_prefix="/v1")


@operation(
    blueprint,
    "GET",
    "/users/<path:user_id>/recommendations",
    role="read",
    query=RecommendationQuery,
    answer=RecommendationAnswer,
    headers=(DEADLINE,),
)
def get_recommendations(user_id: str, query: RecommendationQuery) -> dict[str, Any]:
    """A page of recommendations for a viewer; an unknown viewer gets a good list too."""
    return service().recommend(user_id, as_request(query), g.request_id, asked_budget(), request.query_string)


@operation(
    blueprint,
    "POST",
    "/users/<path:user_id>/recommendations",
    role="read",
    body=RecommendationRequest,
    answer=RecommendationAnswer,
    headers=(DEADLINE,),
)
def post_recommendations(user_id: str, body: RecommendationRequest) -> dict[str, Any]:
    """The same with context, session history and weights in a body."""
    return service().recommend(user_id, body, g.request_id, asked_budget())


@operation(
    blueprint,
    "GET",
    "/videos/<path:video_id>/similar",
    role="read",
    query=SimilarQuery,
    answer=SimilarAnswer,
    problems={404: ("unknown_video", "video_not_in_release")},
)
def get_similar(video_id: str, query: SimilarQuery) -> dict[str, Any]:
    """Videos like one video, by looks, by who watches them, or both."""
    return service().similar(video_id, query)


@operation(
    blueprint,
    "GET",
    "/why",
    role="read",
    query=WhyQuery,
    answer=WhyAnswer,
    problems={404: ("unknown_video", "video_not_in_release")},
)
def get_why(query: WhyQuery) -> dict[str, Any]:
    """Why a video is in a viewer's list, or what keeps it out, with numbers."""
    return service().why(query)
