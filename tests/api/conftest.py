"""A small real world for the API tests: films without media, histories with clear tastes, a published release."""

import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from playwright.sync_api import Browser, sync_playwright

from api.app import create_app
from api.settings import load_settings
from data.home import Home
from data.schema import Event, Video
from data.store import Store
from recommender.refresh import refresh

GENRES = ("comedy", "drama", "space")
PER_GENRE = 20
VIEWERS = 30
DAY = 86_400.0
START = 1_700_000_000.0


def fill(store: Store) -> None:
    """60 films of three genres; 30 viewers, each of whom watched 8 films of one genre and liked the last."""
    store.catalogue.upsert(
        Video(
            id=f"{genre}-{number}",
            title=f"{genre.title()} {number}",
            labels=[genre],
            rating=16 if number == 0 else None,
        )
        for genre in GENRES
        for number in range(PER_GENRE)
    )
    events = []
    for viewer in range(VIEWERS):
        genre = GENRES[viewer % 3]
        for place in range(8):
            video = f"{genre}-{(viewer * 3 + place) % PER_GENRE}"
            when = START + viewer * 60 + place * DAY
            events.append(_event(f"w-{viewer}-{place}", viewer, video, "watch", 1.0, when))
        events.append(_event(f"l-{viewer}", viewer, video, "like", None, when + 60))
    store.events.add(events)


def _event(event_id: str, viewer: int, video: str, kind: str, value: float | None, when: float) -> Event:
    country = "DE" if viewer % 2 else "US"
    return Event.model_validate(
        {"event_id": event_id, "user_id": f"u{viewer}", "video_id": video, "type": kind, "value": value}
        | {"occurred_at": when, "country": country}
    )


@pytest.fixture
def world(home: Home, store: Store) -> Home:
    fill(store)
    refresh(store, home)
    return home


@pytest.fixture
def make_app(world: Home) -> Callable[..., Flask]:
    """Makes an application on the world that sees new releases at once; keyword arguments are settings."""

    def make(cache: Mapping[str, object] | None = None, **given: object) -> Flask:
        # On a machine that has much else to do a cache is not away for it.
        patient = {"timeout_ms": 5_000, "slow_ms": 5_000, **(cache or {})}
        server = {"release_check_s": 1e-6, "release_wait_s": 60}
        return create_app(load_settings(home=world.root, server=server, cache=patient, **given))

    return make


@pytest.fixture
def client(make_app: Callable[..., Flask]) -> Iterator[FlaskClient]:
    """Without a cache."""
    with make_app(cache={"enabled": False}).test_client() as opened:
        yield opened


@pytest.fixture
def browser() -> Iterator[Browser]:
    binary = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if binary is None:
        pytest.skip("Chromium is not installed")
    quiet = ("gpu", "quic", "background-networking", "component-update", "sync")
    flags = ["--headless", "--no-sandbox", "--no-first-run", *(f"--disable-{name}" for name in quiet)]
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=Path(binary), args=flags)
        yield opened
        opened.close()
