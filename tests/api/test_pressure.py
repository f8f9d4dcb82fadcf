"""Back-pressure: one works, one waits, the others are told at once; what is ready needs no place."""

import io
import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from api.app import create_app
from api.bodies import READ_AT_ONCE
from api.settings import load_settings
from data.home import Home

PATH = "/v1/users/{}/recommendations"
WAIT_S = 0.5


class SlowBody(io.BytesIO):
    """What a front end sends that is cut off for a while."""

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self.begun, self.goes_on = threading.Event(), threading.Event()

    def readinto(self, buffer: Any) -> int:
        self.begun.set()
        assert self.goes_on.wait(30)
        return super().readinto(buffer)


def seconds_to_answer(app: Flask) -> float:
    """Of all lists that a GET was given."""
    counted = r'http_request_seconds_sum\{method="GET",route="/v1/users/.*/recommendations",status="200"\} (.+)'
    return sum(map(float, re.findall(counted, app.test_client().get("/metrics").text)))


@pytest.fixture
def narrow(world: Home) -> Flask:
    """Room for one that works and one that waits, for longer than a test takes."""
    room = {"threads": 1, "waiting": 1, "wait_ms": 60_000}
    return create_app(
        load_settings(home=world.root, server=room, exposures={"share": 0}, redis_url="redis://127.0.0.1:1")
    )


@pytest.fixture
def ask(narrow: Flask) -> Iterator[Callable[[str], "Future[TestResponse]"]]:
    with ThreadPoolExecutor(4) as threads:
        yield lambda viewer: threads.submit(narrow.test_client().get, PATH.format(viewer))


def test_one_works_one_waits_and_more_are_told_at_once_to_come_again(
    narrow: Flask, ask: Callable[[str], "Future[TestResponse]"]
) -> None:
    assert ask("u9").result(30).status_code == 200
    before = seconds_to_answer(narrow)
    # A form is read by who works with it.
    body = SlowBody(b"--edge--")
    with ThreadPoolExecutor(1) as thread:
        slow = thread.submit(
            narrow.test_client().post,
            "/v1/search",
            input_stream=body,
            content_type="multipart/form-data; boundary=edge",
        )
        assert body.begun.wait(30)
        # One of the two has the seat, and the other is told.
        both = [ask("u1"), ask("u2")]
        while not any(asked.done() for asked in both):
            time.sleep(0.01)
        refused, waits = sorted(both, key=lambda asked: not asked.done())
        assert not waits.done()
        assert (refused.result().status_code, refused.result().headers["Retry-After"]) == (429, "1")
        ready = ask("u9").result(30)
        assert (ready.status_code, ready.json["cache"]) == (200, "hit"), "a list that is ready needs no place"
        time.sleep(WAIT_S)
        body.goes_on.set()
        assert slow.result(30).status_code == 422
        assert waits.result(30).status_code == 200
    # What it waited counts.
    assert seconds_to_answer(narrow) >= before + WAIT_S
    # Everybody who had a place or a seat has left it.
    assert [ask(f"u{number}").result(30).status_code for number in range(4, 8)] == [200] * 4


def test_bodies_that_come_slowly_keep_nobody_from_being_answered(
    narrow: Flask, ask: Callable[[str], "Future[TestResponse]"]
) -> None:
    bodies = [SlowBody(b"{}") for _ in range(4)]
    with ThreadPoolExecutor(len(bodies)) as threads:
        post = partial(narrow.test_client().post, PATH.format("u0"), content_type="application/json")
        slow = [threads.submit(post, input_stream=body) for body in bodies]
        assert all(body.begun.wait(30) for body in bodies)
        assert [ask(f"u{number}").result(30).status_code for number in range(4)] == [200] * 4
        for body in bodies:
            body.goes_on.set()
        # There is room for two of them at a time.
        assert {each.result(30).status_code for each in slow} <= {200, 429}


def test_more_bodies_than_are_read_at_once_are_told_to_come_again(narrow: Flask) -> None:
    bodies = [SlowBody(b"{}") for _ in range(READ_AT_ONCE)]
    with ThreadPoolExecutor(len(bodies)) as threads:
        post = partial(narrow.test_client().post, PATH.format("u0"), content_type="application/json")
        slow = [threads.submit(post, input_stream=body) for body in bodies]
        assert all(body.begun.wait(30) for body in bodies)
        refused = post(data=b"{}")
        assert (refused.status_code, refused.json["code"], refused.headers["Retry-After"]) == (429, "too_busy", "1")
        for body in bodies:
            body.goes_on.set()
        assert {each.result(30).status_code for each in slow} <= {200, 429}
    assert post(data=b"{}").status_code == 200
