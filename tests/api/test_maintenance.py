"""Operations over HTTP: which release is served, refreshes as jobs of their own."""

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import httpx
import psutil
import pytest
from filelock import FileLock
from flask import Flask
from flask.testing import FlaskClient

from api.jobs import Job, Jobs
from data.home import Home
from data.store import Store
from recommender.refresh import LOCK, refresh
from recommender.release import Releases
from tests.api.test_catalogue import problem
from tests.api.test_server import serving

LIMIT_S = 120.0


def start(client: FlaskClient, **asked: Any) -> str:
    response = client.post("/v1/refresh", json=asked)
    assert response.status_code == 202, response.get_data()
    assert response.headers["Location"] == f"/v1/jobs/{response.json['job_id']}"
    return response.json["job_id"]


def until(client: FlaskClient, job_id: str, reached: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    deadline = time.monotonic() + LIMIT_S
    while True:
        job = client.get(f"/v1/jobs/{job_id}").json
        if reached(job):
            return job
        assert time.monotonic() < deadline, job
        time.sleep(0.02)


def ended(job: dict[str, Any]) -> bool:
    return job["state"] in ("succeeded", "failed")


def process_of(job_id: str) -> psutil.Process:
    found = []
    for process in psutil.Process().children(recursive=True):
        # Some of an earlier test are just ending.
        with contextlib.suppress(psutil.Error):
            if "api.refresh_job" in process.cmdline() and any(job_id in file.path for file in process.open_files()):
                found.append(process)
    (only,) = found
    return only


# ---- Releases --------------------------------------------------------------------------------------------------


def test_releases_are_listed_and_another_one_is_served_at_once(client: FlaskClient, world: Home, store: Store) -> None:
    first = Releases(world.releases).current_id()
    second = refresh(store, world).release_id
    items = client.get("/v1/releases").json["items"]
    assert [(item["id"], item["current"]) for item in items] == [(second, True), (first, False)]
    assert items[0]["counts"]["videos"] == 60

    answer = client.post(f"/v1/releases/{first}/activate")
    assert (answer.status_code, answer.json["id"], answer.json["previous"]) == (200, first, second)
    assert client.get("/v1/users/u0/recommendations").json["release"]["id"] == first
    assert client.post(f"/v1/releases/{first}/activate").json["previous"] == first


def test_a_damaged_release_is_not_served(client: FlaskClient, world: Home, store: Store) -> None:
    first = Releases(world.releases).current_id()
    second = refresh(store, world).release_id
    path = world.releases / str(first) / "videos.text.npy"
    path.write_bytes(path.read_bytes().replace(b"space", b"spice"))
    response = client.post(f"/v1/releases/{first}/activate")
    assert problem(response) == (409, "release_damaged")
    assert str(world.root) not in response.get_data(as_text=True)
    (world.releases / str(first) / "manifest.json").write_text("{")
    assert problem(client.post(f"/v1/releases/{first}/activate")) == (409, "release_damaged")
    listed = client.get("/v1/releases")
    assert str(world.root) not in listed.get_data(as_text=True)
    assert [bool(item.get("damaged")) for item in listed.json["items"]] == [False, True]
    assert Releases(world.releases).current_id() == second


@pytest.mark.parametrize("name", ["nothing", "..", ".building", "%2e%2e%2freleases", "a%2fb", "ü" * 199, "CURRENT"])
def test_an_unknown_release_is_404(client: FlaskClient, world: Home, name: str) -> None:
    before = Releases(world.releases).current_id()
    assert problem(client.post(f"/v1/releases/{name}/activate")) == (404, "unknown_release")
    assert Releases(world.releases).current_id() == before


# ---- Refreshing --------------------------------------------------------------------------------------------------


def test_a_refresh_runs_beside_the_service_and_tells_where_it_stands(
    client: FlaskClient, make_app: Callable[..., Flask], world: Home
) -> None:
    before = Releases(world.releases).current_id()
    job_id = start(client)
    another_process = make_app(cache={"enabled": False}).test_client()
    busy = another_process.post("/v1/refresh", json={})
    assert problem(busy) == (409, "refresh_running")
    assert (busy.get_json(force=True)["job_id"], busy.headers["Location"]) == (job_id, f"/v1/jobs/{job_id}")
    running = until(another_process, job_id, lambda job: job["state"] == "running" and job["phase"] is not None)
    assert running["total"] > running["done"] >= 0 and running["eta_s"] >= 0 and running["result"] is None
    job = until(client, job_id, ended)
    assert (job["state"], job["reason"], job["phase"]) == ("succeeded", None, None)
    assert job["done"] == job["total"] > 5
    assert job["created_at"] < job["started_at"] < job["ended_at"]
    assert job["result"] == Releases(world.releases).current_id() != before
    assert client.get("/v1/users/u0/recommendations").json["release"]["id"] == job["result"]
    assert [each["job_id"] for each in client.get("/v1/jobs").json["items"]] == [job_id]


def test_a_refresh_that_a_gate_holds_up_tells_its_numbers_and_can_be_accepted(
    client: FlaskClient, world: Home, store: Store
) -> None:
    before = Releases(world.releases).current_id()
    client.delete("/v1/videos/space-0")
    store.catalogue.remove([f"drama-{number}" for number in range(20)])
    job = until(client, start(client), ended)
    assert (job["state"], job["result"]) == ("failed", None)
    assert "gate size: 39 videos where the running release has 60" in job["reason"]
    assert Releases(world.releases).current_id() == before
    job = until(client, start(client, accept=["size", "coverage"]), ended)
    assert job["result"] == Releases(world.releases).current_id() != before


def test_a_dry_run_only_tells(client: FlaskClient, world: Home) -> None:
    before = Releases(world.releases).current_id()
    job = until(client, start(client, dry_run=True), ended)
    assert (job["state"], job["result"]) == ("succeeded", None)
    assert job["plan"]["running"] == before and job["plan"]["sizes"]["videos"] == 60
    assert Releases(world.releases).current_id() == before


def test_a_refresh_uses_the_settings_of_the_service(make_app: Callable[..., Flask], world: Home) -> None:
    chosen = {"collaborative": {"factors": 7}, "gates": {"held_back": 0.0}}
    client = make_app(cache={"enabled": False}, recommender=chosen).test_client()
    release = until(client, start(client), ended)["result"]
    settings = next(item for item in client.get("/v1/releases").json["items"] if item["id"] == release)["settings"]
    assert settings["collaborative"]["factors"] == 7


def test_a_killed_refresh_is_told_and_the_next_one_begins(client: FlaskClient, make_app: Callable[..., Flask]) -> None:
    job_id = start(client)
    process_of(job_id).kill()
    job = until(client, job_id, ended)
    assert (job["state"], job["reason"]) == ("failed", "killed")
    restarted = make_app(cache={"enabled": False}).test_client()
    assert restarted.get(f"/v1/jobs/{job_id}").json["reason"] == "killed"
    again = until(restarted, start(restarted), ended)
    assert again["state"] == "succeeded"
    assert [item["state"] for item in restarted.get("/v1/jobs").json["items"]] == ["succeeded", "failed"]
    assert len(restarted.get("/v1/jobs?limit=1").json["items"]) == 1


def test_a_refresh_outlives_the_service_that_started_it(world: Home, make_app: Callable[..., Flask]) -> None:
    with serving(world) as (address, process):
        job_id = httpx.post(f"{address}/v1/refresh", timeout=60).json()["job_id"]
        servers = [each for each in psutil.Process(process.pid).children() if "valkey" not in each.name()]
        process.kill()
        _, alive = psutil.wait_procs(servers, 30)
        assert alive == []
    client = make_app(cache={"enabled": False}).test_client()
    job = until(client, job_id, ended)
    assert job["result"] == Releases(world.releases).current_id() and job["state"] == "succeeded"


@pytest.mark.skipif(sys.platform != "linux", reason="processes keep to processors on Linux alone")
def test_a_refresh_works_on_all_processors_whichever_its_server_keeps_to(client: FlaskClient) -> None:
    ours, others = os.sched_getaffinity(0), set(psutil.Process().children())
    try:
        os.sched_setaffinity(0, {min(ours)})
        job_id = client.post("/v1/refresh").json["job_id"]
        (begun,) = set(psutil.Process().children()) - others
        assert os.sched_getaffinity(begun.pid) == os.sched_getaffinity(os.getppid())
    finally:
        os.sched_setaffinity(0, ours)
    until(client, job_id, ended)


def test_a_refresh_that_was_started_elsewhere_is_waited_for(client: FlaskClient, world: Home) -> None:
    with FileLock(world.releases / LOCK):
        response = client.post("/v1/refresh", json={})
    assert problem(response) == (409, "refresh_running")
    assert response.get_json(force=True)["job_id"] is None


def test_of_many_at_once_one_begins(make_app: Callable[..., Flask]) -> None:
    apps = [make_app(cache={"enabled": False}) for _ in range(2)]
    statuses: list[int] = []
    threads = [
        threading.Thread(target=lambda app=app: statuses.append(app.test_client().post("/v1/refresh").status_code))
        for app in apps * 3
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [202, *[409] * 5]
    client = apps[0].test_client()
    (job,) = client.get("/v1/jobs").json["items"]
    until(client, job["job_id"], ended)


@pytest.mark.parametrize(
    "body", [{"accept": ["finite"]}, {"accept": "size"}, {"force": True}, {"dry_run": "perhaps"}, [], "x", 5]
)
def test_a_refresh_that_is_asked_for_wrongly_does_not_begin(client: FlaskClient, body: Any) -> None:
    assert problem(client.post("/v1/refresh", json=body)) == (422, "invalid_request")
    assert client.get("/v1/jobs").json["items"] == []


@pytest.mark.parametrize("name", ["nothing", "..%2f..%2fwatchnext.db", f"refresh-20260101-000000-{0:010}", "ü" * 199])
def test_an_unknown_job_is_404(client: FlaskClient, name: str) -> None:
    assert problem(client.get(f"/v1/jobs/{name}")) == (404, "unknown_job")


def test_the_newest_hundred_jobs_are_kept(world: Home) -> None:
    jobs = Jobs(world.jobs)
    world.jobs.mkdir()
    ids = [f"refresh-20260101-000000-{number:010}" for number in range(150)]
    for job_id in ids:
        jobs.write(Job(id=job_id, kind="refresh", state="failed", created_at=0.0))
    newest = jobs.start("refresh", "this", {}).id
    assert [job.id for job in jobs.newest(1_000)] == [newest, *ids[:49:-1]]


def test_only_an_administrator_changes_what_is_served(
    make_app: Callable[..., Flask], store: Store, world: Home
) -> None:
    secret_of = {role: store.keys.create(role, role)[1] for role in ("read", "ingest", "admin")}
    client = make_app(cache={"enabled": False}).test_client()
    release = Releases(world.releases).current_id()

    def statuses(method: str, path: str, **more: Any) -> list[int]:
        return [
            client.open(path, method=method, headers={"Authorization": f"Bearer {secret}"}, **more).status_code
            for secret in secret_of.values()
        ]

    assert statuses("GET", "/v1/releases") == statuses("GET", "/v1/jobs") == [200, 200, 200]
    assert statuses("GET", "/v1/jobs/nothing") == [404, 404, 404]
    assert statuses("POST", f"/v1/releases/{release}/activate") == [403, 403, 200]
    assert statuses("POST", "/v1/refresh", json={"accept": ["x"]}) == [403, 403, 422]
