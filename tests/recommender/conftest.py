import pytest

from data.home import Home
from data.store import Store
from tests.recommender.small_world import fill


@pytest.fixture
def world(store: Store, home: Home) -> Store:
    """The store of the small world; its vectors are in the home."""
    fill(store, home)
    return store
