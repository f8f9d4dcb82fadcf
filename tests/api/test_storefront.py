"""The storefront: what stands on the page, what its files answer, and one visit in a real browser."""

import gc
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from html import unescape

import numpy as np
import pytest
from flask.testing import FlaskClient
from PIL import Image
from playwright.sync_api import Browser, Page, Request, expect

from api.app import create_app
from api.service import Service
from api.settings import load_settings
from api.web.placeholders import initials, placeholder
from api.web.rows import clock
from api.web.storefront import SENT_AT_ONCE
from data.demo import make_world
from data.home import Home
from data.schema import Event, MediaFacts, Video
from data.store import Catalogue, Store
from embedder.batch import embed
from embedder.media import Clip, Wanted
from recommender.refresh import refresh
from tests.api.conftest import fill
from tests.serving import serving

PARTS = ("/", "/storefront/rows", "/storefront/viewers", "/storefront/player/space-1")
CLIPS = 24
HOSTILE = "<img src=x onerror=alert(1)>\"'><script>alert(2)</script>"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FlaskClient]:
    """A client of a world that no test changes."""
    home = Home.at(tmp_path_factory.mktemp("shop"))
    store = Store.open(home.database_url)
    fill(store)
    refresh(store, home)
    store.close()
    with create_app(load_settings(home=home.root, cache={"enabled": False})).test_client() as opened:
        yield opened


def page_of(client: FlaskClient, viewer: str) -> str:
    answer = client.get("/", query_string={"viewer": viewer})
    assert answer.status_code == 200
    return answer.text


def cards(page: str, row: str | None = None) -> list[str]:
    """The videos on a page, or of one row, in order."""
    if row is not None:
        found = re.search(rf'data-row="{row}".*?</section>', page, re.DOTALL)
        page = found.group(0) if found else ""
    return [unescape(name) for name in re.findall(r'data-card="([^"]*)"', page)]


def headings(page: str) -> list[str]:
    return [unescape(text) for text in re.findall(r'<h2 id="row-[^"]*">(.*?)</h2>', page)]


# ---- The page ----------------------------------------------------------------------------------------------


def test_a_known_viewer_sees_rows_with_reasons(shop: FlaskClient) -> None:
    page = page_of(shop, "u0")
    assert headings(page)[0] == "For u0"
    assert "Recently watched" in headings(page) and "Popular now in US" in headings(page)
    assert any(heading.startswith("Because you watched Comedy") for heading in headings(page))
    assert '<span class="reason">Because you watched Comedy' in page
    assert cards(page, "hero")[0].startswith("comedy")


def test_a_stranger_sees_what_is_popular_and_is_told_so(shop: FlaskClient) -> None:
    page = page_of(shop, "nobody-yet")
    assert headings(page)[0] == "Popular right now"
    assert "We do not know you yet" in page and "Because you watched" not in page
    assert "Popular in comedy" in headings(page) and "Recently watched" not in headings(page)


def test_without_a_viewer_the_page_is_of_the_most_active(client: FlaskClient, store: Store) -> None:
    store.events.add(
        [
            Event(event_id=f"m{n}", user_id="eager", video_id=f"space-{n}", type="play", occurred_at=1.7e9)
            for n in range(12)
        ]
    )
    assert "For eager" in client.get("/").text


@pytest.mark.parametrize("viewer", ["u0", "u1", "u2", "nobody-yet"])
def test_no_video_stands_twice_on_a_page(shop: FlaskClient, viewer: str) -> None:
    shown = Counter(cards(page_of(shop, viewer)))
    assert len(shown) > 30 and set(shown.values()) == {1}


def test_what_was_watched_stands_in_its_own_row_only(shop: FlaskClient) -> None:
    page = page_of(shop, "u0")
    watched = {f"comedy-{number}" for number in range(8)}
    assert set(cards(page, "recent")) == watched
    assert cards(page, "recent")[0] == "comedy-7"  # the last one first


def test_a_card_says_in_which_list_and_where_it_stood(shop: FlaskClient) -> None:
    page = shop.get("/?viewer=u0", headers={"X-Request-ID": "abc"}).text
    places = re.findall(r"list=abc\.for_you&amp;position=(\d+)", page)
    assert [int(place) for place in places] == list(range(len(places)))


def test_events_change_the_rows(client: FlaskClient) -> None:
    page = page_of(client, "u0")
    first, liked = cards(page, "hero")[0], "space-3"
    events = [
        {"event_id": "e1", "user_id": "u0", "video_id": first, "type": "not_interested", "occurred_at": 1.71e9},
        {"event_id": "e2", "user_id": "u0", "video_id": liked, "type": "complete", "occurred_at": 1.72e9},
    ]
    assert client.post("/v1/events", json={"events": events}).status_code == 202
    after = client.get("/storefront/rows?viewer=u0").text
    assert first not in cards(after)
    assert cards(after, "recent")[0] == liked
    assert "Because you watched Space 3" in after


def test_a_takedown_takes_a_video_off_the_page_and_its_files(client: FlaskClient) -> None:
    assert "comedy-7" in cards(page_of(client, "u0"))
    client.post("/v1/videos/comedy-7/hide")
    assert "comedy-7" not in cards(page_of(client, "u0"))
    for path in ("thumbnails", "media", "storefront/player"):
        answer = client.get(f"/{path}/comedy-7")
        assert (answer.status_code, answer.json["code"]) == (404, "not_available")


def test_titles_and_viewers_cannot_inject_html(client: FlaskClient, store: Store) -> None:
    store.catalogue.upsert(
        [Video(id="space-1", title=HOSTILE, description=HOSTILE, labels=[HOSTILE[:90]], creator=HOSTILE)]
    )
    store.events.add([Event(event_id="h", user_id="u2", video_id="space-1", type="play", occurred_at=1.8e9)])
    seen = page_of(client, "u2") + client.get("/storefront/player/space-1").text + page_of(client, HOSTILE)
    assert seen.count("&lt;img src=x") > 6
    for tag in ("<img src=x", "<script>", "onerror=alert(1)>"):
        assert tag not in seen
    assert "<script" not in client.get("/thumbnails/space-1").text


def test_a_viewer_that_cannot_be_is_refused(shop: FlaskClient) -> None:
    answer = shop.get("/", query_string={"viewer": "a\x01b"})
    assert (answer.status_code, answer.json["field"]) == (422, "viewer")


# ---- What is kept from going wrong -------------------------------------------------------------------------


@pytest.mark.parametrize("path", PARTS)
def test_nothing_is_inline_and_nothing_comes_from_elsewhere(shop: FlaskClient, path: str) -> None:
    answer = shop.get(path)
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'self';")
    assert "unsafe" not in answer.headers["Content-Security-Policy"]
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|<script(?![^>]*\ssrc=)", answer.text)
    assert not re.search(r'(?:src|href|action)="(?:https?:)?//', answer.text)


def test_the_page_is_there_though_nothing_is_recommended(shop: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("no engine")

    monkeypatch.setattr(Service, "recommend", fails)
    monkeypatch.setattr(Service, "similar", fails)
    assert "Recently watched" in page_of(shop, "u0")
    stranger = page_of(shop, "nobody-yet")
    assert "Nothing to show right now" in stranger and "for_you could not be asked for" in stranger
    assert shop.get("/storefront/player/space-1").status_code == 200


def test_the_page_is_there_though_the_database_is_away(shop: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise OSError("no database")

    before = cards(page_of(shop, "nobody-yet"))
    monkeypatch.setattr(Catalogue, "get_many", fails)
    page = page_of(shop, "nobody-yet")
    assert cards(page) == before and "catalogue could not be asked for" in page


def test_an_empty_house_has_a_page(home: Home) -> None:
    with create_app(load_settings(home=home.root, cache={"enabled": False})).test_client() as client:
        assert "Nothing to show right now" in client.get("/").text
        assert "Nobody has watched anything yet" in client.get("/storefront/viewers").text


def test_where_keys_are_needed_the_storefront_needs_one(client: FlaskClient, store: Store) -> None:
    _, secret = store.keys.create("shop", "read")
    for path in (*PARTS, "/thumbnails/space-1", "/media/space-1", "/storefront/static/storefront.js"):
        assert client.get(path).status_code == 401
        assert client.get(path, headers={"Authorization": f"Bearer {secret}"}).status_code != 401


def test_facts_for_operators_are_the_truth(shop: FlaskClient) -> None:
    served = shop.get("/v1/users/u0/recommendations").json
    page = page_of(shop, "u0")
    assert f"<dd>{served['release']['id']}</dd>" in page and "cache off" in page
    assert "u0, 9 events, last seen in US" in page


# ---- Files -------------------------------------------------------------------------------------------------


def test_a_video_without_a_picture_gets_one_of_its_own(shop: FlaskClient) -> None:
    first, second = shop.get("/thumbnails/space-1"), shop.get("/thumbnails/space-2?v=7")
    assert first.mimetype == second.mimetype == "image/svg+xml"
    assert ">S1<" in first.text and first.text.replace("S1", "S2") != second.text
    assert set(second.headers["Cache-Control"].split(", ")) == {"private", "max-age=31536000"}
    again = shop.get("/thumbnails/space-1", headers={"If-None-Match": first.headers["ETag"]})
    assert again.status_code == 304


def test_the_picture_taken_at_encode_time_is_sent(client: FlaskClient, store: Store, home: Home) -> None:
    home.thumbnails.mkdir(parents=True)
    Image.new("RGB", (480, 270), "orange").save(home.thumbnails / "one.jpg")
    store.catalogue.mark_ready(
        "space-1", "encoder", MediaFacts(duration_s=4.0, thumbnail_path="media/thumbnails/one.jpg")
    )
    answer = client.get("/thumbnails/space-1?v=1")
    assert (answer.status_code, answer.mimetype) == (200, "image/jpeg")
    assert "max-age=31536000" in answer.headers["Cache-Control"]
    (home.thumbnails / "one.jpg").unlink()
    lost = client.get("/thumbnails/space-1?v=1")
    assert lost.mimetype == "image/svg+xml" and "Cache-Control" not in lost.headers


def test_media_comes_in_ranges(client: FlaskClient, store: Store, home: Home) -> None:
    content = bytes(range(256)) * 40
    home.media.mkdir(exist_ok=True)
    (home.media / "clip.mp4").write_bytes(content)
    store.catalogue.upsert([Video(id="clip/1", media_path="clip.mp4"), Video(id="page", media_path="clip.html")])
    whole = client.get("/media/clip/1")
    assert (whole.status_code, whole.mimetype, whole.data) == (200, "video/mp4", content)
    assert whole.headers["Cache-Control"] == "no-cache"
    part = client.get("/media/clip/1", headers={"Range": "bytes=100-199"})
    assert (part.status_code, part.data) == (206, content[100:200])
    assert part.headers["Content-Range"] == f"bytes 100-199/{len(content)}"
    assert client.get("/media/clip/1", headers={"Range": "bytes=99999-"}).status_code == 416
    (home.media / "clip.mp4").unlink()
    assert client.get("/media/clip/1").json["code"] == "media_missing"
    (home.media / "clip.html").write_bytes(b"<script>alert(1)</script>")
    assert client.get("/media/page").mimetype == "application/octet-stream"


def test_files_that_are_sent_slowly_are_bounded_and_make_room_however_they_end(
    client: FlaskClient, store: Store, home: Home
) -> None:
    home.media.mkdir(exist_ok=True)
    (home.media / "clip.mp4").write_bytes(bytes(1_000_000))
    store.catalogue.upsert([Video(id="clip", media_path="clip.mp4")])
    ranges = [{}, {"Range": "bytes=100-900000"}]
    sent = [client.get("/media/clip", headers=ranges[number % 2], buffered=False) for number in range(SENT_AT_ONCE)]
    assert {response.status_code for response in sent} == {200, 206}
    refused = client.get("/media/clip")
    assert (refused.status_code, refused.json["code"], refused.headers["Retry-After"]) == (
        503,
        "too_many_downloads",
        "5",
    )
    assert client.get("/v1/users/u0/recommendations").status_code == 200
    # One is read to its end, and others have gone.
    assert len(sent[0].data) == 1_000_000
    del sent
    gc.collect()
    assert {client.get("/media/clip").status_code for _ in range(2 * SENT_AT_ONCE)} == {200}
    assert {client.head("/media/clip").status_code for _ in range(2 * SENT_AT_ONCE)} == {200}


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/thumbnails/nothing", "unknown_video"),
        ("/media/nothing", "unknown_video"),
        ("/storefront/player/nothing", "unknown_video"),
        ("/media/space-1", "no_media"),
        ("/storefront/static/../storefront.py", "not_found"),
    ],
)
def test_what_is_not_there_is_a_problem(shop: FlaskClient, path: str, code: str) -> None:
    answer = shop.get(path)
    assert (answer.status_code, answer.mimetype, answer.json["code"]) == (404, "application/problem+json", code)


def test_htmx_is_here_with_its_licence(shop: FlaskClient) -> None:
    assert shop.get("/storefront/static/vendor/htmx-2.0.11.min.js").mimetype == "text/javascript"
    assert "Zero-Clause BSD" in shop.get("/storefront/static/vendor/htmx-2.0.11.LICENSE.txt").text


# ---- Small things ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("title", "letters"),
    [
        ("The Tower above the Lake", "TA"),
        ("Alien (1979)", "A"),
        ("2001: A Space Odyssey", "2S"),
        ("", "?"),
        ("¿…?", "?"),
    ],
)
def test_initials_stand_for_a_title(title: str, letters: str) -> None:
    assert initials(title) == letters


def test_a_placeholder_is_always_the_same_and_escaped() -> None:
    assert placeholder("v1", "One") == placeholder("v1", "One") != placeholder("v2", "One")
    assert "<b>" not in placeholder("<b>", '"<b>')


def test_durations_read_like_clocks() -> None:
    assert [clock(seconds) for seconds in (None, 0.2, 4.4, 750, 3_723)] == [None, "0:01", "0:04", "12:30", "1:02:03"]


# ---- In a browser ------------------------------------------------------------------------------------------


class Colours:
    """A quick encoder: a clip's mean colours over time, four samples of each frame."""

    id = "test/colours"
    dim = 48
    device = "cpu"
    licence = "none"
    wants = Wanted(frames=4)

    def encode(self, clips: Sequence[Clip]) -> np.ndarray:
        samples = [
            [frame[y::2, x::2].mean(axis=(0, 1)) for frame in frames for y in (0, 1) for x in (0, 1)]
            for frames in (clip.frames for clip in clips)
            if frames is not None
        ]
        vectors = np.array(samples, np.float32).reshape(len(clips), self.dim)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture
def demo_store(home: Home, store: Store) -> Store:
    """A few drawn clips and their viewers, with pictures and a release."""
    world = make_world(home.media, clips=CLIPS, viewers=30)
    store.catalogue.upsert(world.videos)
    rows = world.events.astype(object).where(world.events.notna(), None).to_dict("records")
    store.events.add([Event.model_validate(row) for row in rows])
    assert embed(store, home, encoder=Colours()).encoded == CLIPS
    refresh(store, home)
    return store


@pytest.fixture
def address(home: Home, demo_store: Store) -> Iterator[str]:
    """The origin of a real server on a free port of this machine."""
    with serving(create_app(load_settings(home=home.root, cache={"enabled": False}))) as origin:
        yield origin


class Visit:
    """A page of the browser that remembers what went wrong on it."""

    def __init__(self, browser: Browser, address: str) -> None:
        self.page: Page = browser.new_page(viewport={"width": 1280, "height": 800})
        self.complaints: list[str] = []
        self.strangers: list[str] = []
        self._address = address
        self.page.on("console", lambda message: self.complaints.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", self._look_at)

    def _look_at(self, request: Request) -> None:
        if not request.url.startswith(self._address + "/"):
            self.strangers.append(request.url)


def test_a_visit_in_a_real_browser(browser: Browser, address: str, demo_store: Store) -> None:
    (first, _), (second, _) = demo_store.events.viewers(2)
    visit = Visit(browser, address)
    page = visit.page
    page.goto(address)
    expect(page.locator("#row-for_you")).to_have_text(f"For {first}")

    # Another viewer.
    page.locator("#viewer-button").click()
    expect(page.locator("#viewer-list li")).to_have_count(len(demo_store.events.viewers(100)))
    page.locator("#viewer-search").fill(second.upper())
    expect(page.locator("#viewer-list li:visible")).to_have_count(1)
    page.keyboard.press("Enter")
    expect(page.locator("#row-for_you")).to_have_text(f"For {second}")
    expect(page.locator("#viewers")).to_be_hidden()
    expect(page.locator("#viewer-button")).to_contain_text(second)
    assert page.url == f"{address}/?viewer={second}"

    # A card is opened with the keyboard, and its clip plays to the end.
    entry = page.locator("[data-row=for_you] li").nth(1)
    watched = entry.get_attribute("data-card")
    entry.locator("button").focus()
    page.keyboard.press("Enter")
    expect(page.locator(".watch[data-state=playing]")).to_be_visible()
    expect(page.locator(".watch")).to_have_attribute("data-state", "ended", timeout=15_000)
    assert page.locator("#player video").evaluate("video => video.currentTime") > 3
    page.locator("[data-say=like]").click()
    expect(page.locator("[data-say=like]")).to_have_attribute("aria-pressed", "true")

    # It is closed; what was watched has left the row.
    page.keyboard.press("Escape")
    expect(page.locator("#player")).to_be_hidden()
    expect(page.locator(".toast")).to_contain_text("our list")
    expect(page.locator(f'[data-row=recent] [data-card="{watched}"]')).to_have_count(1)
    expect(page.locator(f'[data-card="{watched}"]')).to_have_count(1)

    events = {row["type"]: row for row in demo_store.events.tail(10, second) if row["video_id"] == watched}
    assert set(events) >= {"play", "watch", "complete", "like"}
    assert events["watch"]["value"] > 0.7
    play = events["play"]
    assert (play["surface"], play["position"]) == ("storefront", 2)
    assert play["request_id"].endswith(".for_you") and play["session_id"] and len(play["event_id"]) == 36

    # What is rejected goes as well, at once.
    entry = page.locator("[data-row=for_you] li").first
    rejected = entry.get_attribute("data-card")
    entry.click()
    page.locator("[data-say=not_interested]").click()
    expect(page.locator(f'[data-card="{rejected}"]')).to_have_count(0)

    # Back to the first viewer.
    page.go_back()
    expect(page.locator("#viewer-button")).to_contain_text(first)
    assert visit.complaints == [] and visit.strangers == []
