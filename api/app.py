"""The application: a factory that puts settings, database, cache, engine and routes together."""

import os
import time

from flask import Flask, Response, g, request
from werkzeug.routing import PathConverter

from api import auth, bodies, errors, pressure
from api.errors import Problem
from api.request_ids import request_id_of
from api.routes import events, health, lists, maintenance, recommendations, search, videos, viewers
from api.service import Service
from api.settings import Settings, load_settings
from api.shortcut import Shortcut
from api.web import docs, storefront
from data.store import Store
from recommender.index import use_threads

#: How `serve` tells its worker processes where the embedded Redis listens.
EMBEDDED_REDIS_VARIABLE = "EMBEDDED_REDIS_URL"


def create_app(settings: Settings | None = None) -> Flask:
    """The WSGI application of one process. Raises SettingsError or StoreError when it cannot start."""
    settings = settings or load_settings()
    home = settings.open_home()
    store = Store.open(settings.database(home))
    # Requests come side by side; one search in several threads would only make them wait for each other.
    use_threads(1)
    app = Flask("watchnext", root_path=os.path.dirname(__file__), static_folder=None)  # noqa: PTH120
    # An id that begins with a slash is another one than that without.
    app.url_map.merge_slashes = False
    app.url_map.converters["path"] = _AnyPath
    app.config["MAX_CONTENT_LENGTH"] = settings.server.max_body_bytes
    service = Service(settings, home, store, settings.redis_url or os.environ.get(EMBEDDED_REDIS_VARIABLE))
    app.extensions["watchnext"] = service
    errors.install(app)
    gatekeeper = auth.install(app, store.keys)
    _install_request_ids(app)
    server = settings.server
    gate = pressure.Gate(server.threads, server.waiting, server.wait_ms / 1000)
    bodies.install(app)
    pressure.install(app, gate)
    for room in (recommendations, lists, search, events, videos, viewers, maintenance, health, storefront, docs):
        app.register_blueprint(room.blueprint)
    app.wsgi_app = Shortcut(app.wsgi_app, service, gatekeeper, gate)  # type: ignore[method-assign]
    return app


class _AnyPath(PathConverter):
    part_isolating = False
    regex = ".+?"


def _install_request_ids(app: Flask) -> None:
    @app.before_request
    def begin() -> None:
        g.request_id = request_id_of(request.environ)
        g.started = request.environ.get(pressure.CAME_AT) or time.perf_counter()
        parts = {"path": request.environ["PATH_INFO"].encode("latin-1"), "query": request.query_string}
        for name, part in parts.items():
            try:
                part.decode()
            except UnicodeDecodeError:
                raise Problem(422, "invalid_request", f"the {name} of the URL is not UTF-8") from None
        for name, value in (request.view_args or {}).items():
            if any(character < " " for character in value):
                raise Problem(422, "invalid_request", f"{name} holds control characters", field=name)
            # In bodies and queries it would be taken off: there is nobody of that name.
            if value != value.strip():
                raise Problem(422, "invalid_request", f"{name} begins or ends with white space", field=name)

    @app.after_request
    def end(response: Response) -> Response:
        response.headers["X-Request-ID"] = g.request_id
        response.headers["X-Content-Type-Options"] = "nosniff"
        route = request.url_rule.rule if request.url_rule else "none"
        seconds = time.perf_counter() - g.started
        app.extensions["watchnext"].telemetry.answered(route, request.method, response.status_code, seconds)
        return response
