"""Events over HTTP: a result for every row, once per id, acknowledged after the commit."""

import time
from typing import Any

from flask.testing import FlaskClient

from data.store import Store


def event(number: int, **fields: object) -> dict[str, Any]:
    base = {"event_id": f"e{number}", "user_id": "u0", "video_id": "drama-1", "type": "watch", "value": 0.5}
    return base | {"occurred_at": "2026-01-31T20:15:00Z"} | fields


def test_good_rows_count_and_each_bad_row_says_what_is_wrong(client: FlaskClient, store: Store) -> None:
    rows = [
        event(1),
        event(1),
        event(2, video_id="nothing"),
        event(3, type="stare"),
        event(4, value=None),
        event(5, occurred_at=time.time() + 10_000),
        event(6, colour="red"),
        {"event_id": "e7"},
        "no object",
        event(8, type="like", value=None, position=3, surface="home", session_id="s", request_id="r", duration_s=12.5),
    ]
    response = client.post("/v1/events", json={"events": rows})
    assert response.status_code == 202
    answer = response.json
    assert (answer["accepted"], answer["duplicates"], answer["rejected"]) == (2, 1, 7)
    statuses = [(row["status"], row.get("code")) for row in answer["results"]]
    assert statuses[1] == ("duplicate", None)
    assert [code for _, code in statuses[2:9]] == [
        "unknown_video",
        "invalid_event",
        "invalid_event",
        "in_the_future",
        "invalid_event",
        "invalid_event",
        "invalid_event",
    ]
    assert answer["results"][3]["detail"].startswith("type:")
    assert answer["results"][6]["detail"].startswith("colour: is not known here; known are event_id, user_id, ")
    stored = {row["event_id"]: row for row in store.events.tail(100, "u0")}
    assert stored["e8"]["position"] == 3 and stored["e8"]["duration_s"] == 12.5
    assert "e2" not in stored and "e5" not in stored


def test_the_same_batch_again_changes_nothing(client: FlaskClient, store: Store) -> None:
    batch = {"events": [event(number) for number in range(50)]}
    assert client.post("/v1/events", json=batch).json["accepted"] == 50
    count = store.events.count()
    assert client.post("/v1/events", json=batch).json["duplicates"] == 50
    assert store.events.count() == count


def test_a_batch_of_the_wrong_size_or_shape_is_refused_whole(client: FlaskClient) -> None:
    for body in ({"events": []}, {"events": [event(n) for n in range(1_001)]}, {"event": []}, []):
        response = client.post("/v1/events", json=body)
        assert (response.status_code, response.json["code"]) == (422, "invalid_request")
