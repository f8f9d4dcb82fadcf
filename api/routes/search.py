"""Finding videos by words, by a picture, or by a clip."""

from typing import Any

from flask import Blueprint

from api.operations import operation
from api.routes import service
from api.schemas.search import SearchAnswer, SearchRequest

blueprint = Blueprint("search", __name__, url_prefix="/v1")


@operation(
    blueprint,
    "POST",
    "/search",
    role="read",
    body=SearchRequest,
    answer=SearchAnswer,
    max_file_bytes=lambda: service().settings.search.max_upload_bytes,
)
def post_search(body: SearchRequest, upload: bytes | None = None) -> dict[str, Any]:
    """Videos by words, in what is written or seen of them, or by a picture or clip that is like them."""
    return service().searching.search(body, upload)
