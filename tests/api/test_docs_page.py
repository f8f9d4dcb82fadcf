"""The page of the API in a real browser: every operation is on it, and it needs nothing but this server."""

import re

import pytest
from flask.testing import FlaskClient
from playwright.sync_api import Browser, expect

from api.app import create_app
from api.operations import OPERATIONS
from api.settings import load_settings
from data.home import Home
from data.store import Store
from tests.serving import serving


@pytest.fixture
def client(home: Home) -> FlaskClient:
    """A client of a house without videos."""
    return create_app(load_settings(home=home.root, cache={"enabled": False})).test_client()


@pytest.mark.parametrize("scheme", ["dark", "light"])
def test_every_operation_is_on_the_page(browser: Browser, client: FlaskClient, scheme: str) -> None:
    complaints: list[str] = []
    asked: list[str] = []
    with serving(client.application) as address:
        page = browser.new_page(color_scheme=scheme)  # type: ignore[arg-type]
        page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(f"{address}/docs")
        for each in OPERATIONS:
            path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", each.path)
            entry = page.locator(".nav-bar-path").filter(
                has_text=re.compile(f"^\\s*{each.method.lower()}\\s*{re.escape(path)}\\s*$", re.I)
            )
            expect(entry).to_have_count(1)
        page.locator(".nav-bar-path", has_text="/v1/videos/{video_id}/similar").click()
        expect(page.get_by_role("heading", name="Videos like one video")).to_be_in_viewport()
        ground = page.locator("rapi-doc").get_attribute("bg-color")
        assert ground == ("#0a0c11" if scheme == "dark" else "#ffffff")
        page.close()
        assert complaints == []
        assert len(asked) > 4 and all(url.startswith(address + "/") for url in asked)


def test_a_request_can_be_tried_on_the_page(browser: Browser, client: FlaskClient) -> None:
    with serving(client.application) as address:
        page = browser.new_page()
        page.goto(f"{address}/docs#get-/v1/users/-user_id-/recommendations")
        section = page.locator("[id='get-/v1/users/-user_id-/recommendations']").last
        section.get_by_role("textbox").first.fill("anna")
        with page.expect_response(lambda response: "/v1/users/anna/recommendations" in response.url) as response:
            section.get_by_role("button", name="TRY").click()
        assert response.value.status == 200 and response.value.json()["user_id"] == "anna"
        page.close()


def test_no_script_of_the_page_is_inline_or_from_elsewhere(client: FlaskClient) -> None:
    answer = client.get("/docs")
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == "'self'" and "script-src" not in policy
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|<script(?![^>]*\ssrc=)", answer.text)
    assert not re.search(r'(?:src|href|action|spec-url)="(?:https?:)?//', answer.text)


def test_where_keys_are_needed_the_page_needs_one(client: FlaskClient, store: Store) -> None:
    elsewhere = {"REMOTE_ADDR": "192.0.2.7"}
    assert client.get("/docs", environ_base=elsewhere).status_code == 403
    _, secret = store.keys.create("reader", "read")
    app = create_app(client.application.extensions["watchnext"].settings)
    for path in ("/docs", "/openapi.json"):
        assert app.test_client().get(path).status_code == 401
        assert app.test_client().get(path, headers={"Authorization": f"Bearer {secret}"}).status_code == 200


def test_what_the_page_is_made_with_stands_here_with_its_licence(client: FlaskClient) -> None:
    script = re.search(r'src="(/[^"?]*rapidoc[^"?]*)', client.get("/docs").text)
    assert script is not None
    assert len(client.get(script[1]).data) < 3_000_000
    assert "MIT License" in client.get(script[1].replace(".min.js", ".LICENSE.txt")).text
