"""Bare services that a real one is compared with, under the same server and workers: what HTTP alone takes."""

import os

import redis
from flask import Flask, Response

SIZE, REDIS = "FLOOR_BODY_BYTES", "FLOOR_REDIS_URL"
KEY = "floor"


def body() -> bytes:
    return b'{"body":"' + b"x" * (int(os.environ[SIZE]) - 11) + b'"}'


def constant() -> Flask:
    """A route that returns a constant body."""
    app = Flask("constant")
    ready = body()

    @app.get("/v1/users/<path:user_id>/recommendations")
    def answer(user_id: str) -> Response:
        return Response(ready, content_type="application/json")

    return app


def one_get() -> Flask:
    """A route that returns the bytes of one GET."""
    app = Flask("one_get")
    client = redis.Redis.from_url(os.environ[REDIS])
    client.set(KEY, body())

    @app.get("/v1/users/<path:user_id>/recommendations")
    def answer(user_id: str) -> Response:
        return Response(client.get(KEY), content_type="application/json")

    return app
