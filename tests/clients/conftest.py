"""A real server of a small world, for clients to ask."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from api.app import create_app
from api.settings import load_settings
from data.home import Home
from data.store import Store
from recommender.refresh import refresh
from tests.api.conftest import fill
from tests.serving import serving


@dataclass(frozen=True)
class Served:
    """`keys`: by role."""

    address: str
    keys: dict[str, str]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    home = Home.at(tmp_path_factory.mktemp("served"))
    store = Store.open(home.database_url)
    fill(store)
    refresh(store, home)
    keys = {role: store.keys.create(role, role)[1] for role in ("read", "ingest", "admin")}
    store.close()
    with serving(create_app(load_settings(home=home.root, cache={"enabled": False}))) as address:
        yield Served(address, keys)
