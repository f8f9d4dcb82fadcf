"""The API, described: the OpenAPI document for programs, and a page that shows it to people.

Both come from this server alone. The page is RapiDoc, which stands among the static files.
"""

from functools import cache
from hashlib import sha256
from importlib.metadata import version

import orjson
from flask import Blueprint, Response, render_template, request

from api.auth import require_role
from api.openapi import openapi_document

RAPIDOC = "vendor/rapidoc-9.3.8.min.js"
#: RapiDoc writes its styles into the page; no script is inline, and nothing comes from elsewhere.
CONTENT_POLICY = (
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; object-src 'none'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

blueprint = Blueprint("docs", __name__, template_folder="templates")


@blueprint.before_request
def _admit() -> None:
    require_role("read")


@blueprint.get("/openapi.json")
def openapi() -> Response:
    """This API, described; the same bytes until another version runs."""
    content, tag = _document()
    response = Response(content, content_type="application/json")
    response.set_etag(tag)
    response.cache_control.no_cache = True
    response.make_conditional(request)
    return response


@blueprint.get("/docs")
def page() -> Response:
    """The description as a page to read and to try requests with."""
    response = Response(render_template("docs/page.html", rapidoc=RAPIDOC, version=version("watchnext")))
    response.headers["Content-Security-Policy"] = CONTENT_POLICY
    response.headers["Referrer-Policy"] = "same-origin"
    response.headers["Cache-Control"] = "no-store"
    return response


@cache
def _document() -> tuple[bytes, str]:
    """The document's bytes and their tag, made once in a process: every operation is known when it is asked."""
    content = orjson.dumps(openapi_document(version("watchnext")))
    return content, sha256(content).hexdigest()[:32]
