"""The Python client against a real server, and its manners when the server has no time."""

import asyncio
import re
import subprocess
import sys
import time
from collections.abc import Callable

import httpx
import pytest
from watchnext_client import AsyncWatchNext, ProblemError, UnreachableError, WatchNext
from watchnext_client.calls import Call

from api.operations import OPERATIONS
from tests.clients.conftest import Served
from tests.conftest import REPOSITORY

PACKAGE = REPOSITORY / "clients" / "python"


@pytest.fixture
def client(served: Served) -> WatchNext:
    return WatchNext(served.address, served.keys["admin"])


# ---- Against a real server ---------------------------------------------------------------------------------


def test_lists_and_videos_are_asked_for(client: WatchNext) -> None:
    answer = client.get_recommendations("u0", limit=5, exclude=["comedy-9", "comedy-10"], reasons=False)
    assert answer["user_id"] == "u0" and len(answer["items"]) == 5
    assert not {"comedy-9", "comedy-10"} & {item["video_id"] for item in answer["items"]}
    assert "reason" not in answer["items"][0]
    posted = client.post_recommendations("u0", {"limit": 3, "context": {"max_rating": 12}})
    assert len(posted["items"]) == 3
    assert client.get_video("space-1")["title"] == "Space 1"
    assert client.get_why(user_id="u0", video_id="space-1")["video_id"] == "space-1"


def test_an_id_may_hold_any_character(client: WatchNext) -> None:
    assert client.get_recommendations("a/b c?d=é%2F#")["user_id"] == "a/b c?d=é%2F#"


def test_every_page_is_followed_once(client: WatchNext) -> None:
    videos = [video["id"] for video in client.items(client.list_videos, limit=7, label="space")]
    assert sorted(videos) == sorted(f"space-{number}" for number in range(20)) and len(set(videos)) == 20
    assert [len(page["items"]) for page in client.pages(client.list_videos, limit=50)] == [50, 10]
    by_body = [item["rank"] for item in client.items(client.post_recommendations, "u1", {"limit": 20})]
    by_name = [item["rank"] for item in client.items(client.post_recommendations, "u1", body={"limit": 20})]
    assert by_body == by_name == list(range(1, len(by_body) + 1)) and len(by_body) > 20


def test_a_problem_says_what_is_wrong(client: WatchNext, served: Served) -> None:
    with pytest.raises(ProblemError) as found:
        client.with_options(request_id="abc-1").get_video("nothing")
    problem = found.value
    assert (problem.status, problem.code, problem.field) == (404, "unknown_video", "video_id")
    assert problem.request_id == "abc-1" and "'nothing'" in problem.detail and "abc-1" in str(problem)
    with pytest.raises(ProblemError, match="invalid_request"):
        client.list_videos(limit=0)
    with pytest.raises(ProblemError, match="unauthenticated"):
        WatchNext(served.address).list_videos()
    with pytest.raises(ProblemError, match="forbidden"):
        WatchNext(served.address, served.keys["read"]).hide_video("space-1")


def test_a_takedown_and_back(client: WatchNext) -> None:
    assert client.hide_video("space-2")["hidden"] is True
    assert client.unhide_video("space-2")["hidden"] is False


def test_events_go_in_batches_and_count_once(client: WatchNext) -> None:
    rejected = []
    with client.events(
        size=2, on_rejected=lambda event, result: rejected.append((event["video_id"], result["code"]))
    ) as e:
        first = e.add(user_id="py", video_id="space-3", type="play")
        assert len(e) == 1
        e.add(user_id="py", video_id="nowhere", type="play")
        assert len(e) == 0
        e.add(user_id="py", video_id="space-4", type="watch", value=0.8)
    assert rejected == [("nowhere", "unknown_video")] and len(e) == 0
    again = {"event_id": first, "user_id": "py", "video_id": "space-3", "type": "play", "occurred_at": time.time()}
    assert client.post_events({"events": [again]})["duplicates"] == 1  # type: ignore[list-item]


def test_the_same_with_await(served: Served) -> None:
    async def visit() -> None:
        async with AsyncWatchNext(served.address, served.keys["admin"]) as client:
            answers = await asyncio.gather(*(client.get_recommendations(f"u{n}", limit=3) for n in range(4)))
            assert [answer["user_id"] for answer in answers] == ["u0", "u1", "u2", "u3"]
            videos = [video["id"] async for video in client.items(client.list_videos, limit=9, label="drama")]
            assert len(set(videos)) == len(videos) == 20
            async with client.events(size=10) as events:
                await events.add(user_id="aio", video_id="space-5", type="like")
                assert len(events) == 1
            assert len(events) == 0
            with pytest.raises(ProblemError, match="unknown_video"):
                await client.with_options(deadline_ms=500).get_video("nothing")

    asyncio.run(visit())


def test_nothing_that_answers_is_said_so() -> None:
    with pytest.raises(UnreachableError, match="request given"):
        WatchNext("http://127.0.0.1:9", retries=1).with_options(request_id="given").list_videos()


def test_what_the_readme_shows_works(served: Served) -> None:
    shown = re.findall(r"```python\n(.*?)```", (PACKAGE / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    program = "\n".join(shown).replace("http://127.0.0.1:8080", served.address).replace("wn_...", served.keys["admin"])
    ran = subprocess.run([sys.executable, "-c", program], cwd=PACKAGE, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    assert "404 unknown_video video_id" in ran.stdout and "space-19" in ran.stdout


# ---- When the server has no time ---------------------------------------------------------------------------

Answers = Callable[..., tuple[httpx.MockTransport, list[httpx.Request]]]


@pytest.fixture
def answering() -> Answers:
    """A server in the wire's place that gives the answers one after the other, and what it was asked."""

    def make(*answers: httpx.Response | Exception) -> tuple[httpx.MockTransport, list[httpx.Request]]:
        asked: list[httpx.Request] = []

        def give(request: httpx.Request) -> httpx.Response:
            asked.append(request)
            answer = answers[min(len(asked), len(answers)) - 1]
            if isinstance(answer, Exception):
                raise answer
            return answer

        return httpx.MockTransport(give), asked

    return make


def busy(status: int = 503, **headers: str) -> httpx.Response:
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(status, json={"code": "database_unavailable", "detail": "away"}, headers=headers)


FINE = httpx.Response(200, json={"items": [], "cursor": None})


@pytest.mark.parametrize("first", [busy(503), busy(429), httpx.ConnectError("no"), httpx.ReadTimeout("slow")])
def test_what_can_be_asked_twice_is_asked_again(answering: Answers, first: httpx.Response | Exception) -> None:
    transport, asked = answering(first, FINE)
    assert WatchNext(transport=transport).list_videos() == FINE.json()
    assert len(asked) == 2 and asked[0].headers["X-Request-ID"] == asked[1].headers["X-Request-ID"]


def test_retry_after_is_honoured_and_bounded(answering: Answers) -> None:
    transport, asked = answering(busy(Retry_After="1"), FINE)
    began = time.monotonic()
    WatchNext(transport=transport).list_videos()
    assert time.monotonic() - began >= 1
    transport, asked = answering(busy(Retry_After="60"), FINE)
    with pytest.raises(ProblemError) as found:
        WatchNext(transport=transport).list_videos()
    assert len(asked) == 1 and found.value.retry_after_s == 60


def test_it_is_given_up_after_the_last_attempt(answering: Answers) -> None:
    transport, asked = answering(busy())
    with pytest.raises(ProblemError, match="database_unavailable"):
        WatchNext(transport=transport, retries=1).list_videos()
    assert len(asked) == 2


def test_what_must_not_be_done_twice_is_not_asked_again(answering: Answers) -> None:
    transport, asked = answering(busy(), FINE)
    with pytest.raises(ProblemError):
        WatchNext(transport=transport)._send(Call("POST", "/v1/once"))
    assert len(asked) == 1
    keyed, asked = answering(busy(), FINE)
    WatchNext(transport=keyed)._send(Call("POST", "/v1/once", keyed=True))
    assert asked[0].headers["Idempotency-Key"] == asked[1].headers["Idempotency-Key"]


def test_every_operation_that_may_be_is_asked_again_and_no_other() -> None:
    text = (PACKAGE / "watchnext_client" / "operations.py").read_text(encoding="utf-8")
    methods = {part.split("(")[0]: part for part in text.split("    def ")[1:]}
    for each in OPERATIONS:
        assert ("repeatable=True" in methods[each.name]) == each.repeatable, each.name


def test_problems_of_what_stands_before_the_service_are_problems_too(answering: Answers) -> None:
    transport, _ = answering(httpx.Response(418, text="<html>teapot</html>"))
    with pytest.raises(ProblemError, match="418 http_418"):
        WatchNext(transport=transport).list_videos()


def test_whatever_stands_in_a_path_stands_in_its_place(answering: Answers) -> None:
    transport, asked = answering(FINE)
    WatchNext(transport=transport).get_similar("a/b?c{d}")
    assert asked[0].url.raw_path == b"/v1/videos/a%2Fb%3Fc%7Bd%7D/similar"


def test_options_reach_the_server(answering: Answers) -> None:
    transport, asked = answering(FINE)
    client = WatchNext(key="wn_secret", transport=transport)
    client.with_options(deadline_ms=80, request_id="mine").list_videos()
    client.list_videos()
    assert (asked[0].headers["X-Deadline-Ms"], asked[0].headers["X-Request-ID"]) == ("80", "mine")
    assert asked[1].headers["Authorization"] == "Bearer wn_secret" and "X-Deadline-Ms" not in asked[1].headers


def test_events_that_could_not_be_sent_stay_and_go_later(answering: Answers) -> None:
    took = httpx.Response(202, json={"results": [{"event_id": "e", "status": "accepted"}] * 2})
    transport, asked = answering(busy(), took)
    events = WatchNext(transport=transport, retries=0).events(size=2)
    events.add(user_id="u", video_id="v", type="play")
    with pytest.raises(ProblemError):
        events.add(user_id="u", video_id="w", type="play")
    # Nothing is asked anew with every event while the service is away.
    events.add(user_id="u", video_id="x", type="play")
    events.add(user_id="u", video_id="y", type="play")
    assert (len(events), len(asked)) == (4, 1)
    events.flush()
    assert (len(events), len(asked)) == (0, 3) and asked[0].content == asked[1].content != asked[2].content


def test_the_client_is_fully_typed() -> None:
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "watchnext_client"]
    checked = subprocess.run(command, cwd=PACKAGE, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout
