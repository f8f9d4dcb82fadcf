"""Which engine answers: what came while a release was being built is not lost with the swap to it."""

from collections.abc import Callable

import numpy as np
import pytest

from api.engines import EngineKeeper
from data.embeddings import EmbeddingTable
from data.home import Home
from data.schema import MediaFacts, Video
from data.store import Store
from recommender.building import Building
from recommender.engine import Engine, query_now
from recommender.profile import nobody
from recommender.refresh import refresh
from tests.recommender.small_world import ENCODER, NOW, SETTINGS, add_encoded, fill


def looks_like(engine: Engine, video: str) -> set[str]:
    """The genres of the three videos that look most like one."""
    similar = engine.similar(video, query_now(nobody(), 3), "visual")
    return {engine.videos[column].split("-")[0] for column in similar.columns}


@pytest.fixture
def keeper(store: Store, home: Home) -> EngineKeeper:
    fill(store, home)
    refresh(store, home, SETTINGS)
    return EngineKeeper(home, store, SETTINGS, 1e-6)


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch, store: Store, home: Home) -> list[Callable[[], object]]:
    """While the next release is built, after its index, a new file is encoded, one that waited, and a changed one; then
    what is put into the list is called."""
    then: list[Callable[[], object]] = []
    store.catalogue.upsert([Video(id="waiting", media_path="/waiting.mp4")])
    finish = Building._pass_gates

    def pass_gates(self: Building) -> None:
        add_encoded(store, home, "new", like="space-3", published_at=NOW)
        table = EmbeddingTable.create(home.embeddings, ENCODER, 8)
        table.append(["waiting", "space-0"], table.matrix[table.rows_of(["sports-1", "cooking-0"])])
        store.catalogue.note_content("space-0", "f" * 64)
        for name in ("waiting", "space-0"):
            store.catalogue.mark_ready(name, ENCODER, MediaFacts())
        for call in then:
            call()
        finish(self)

    monkeypatch.setattr(Building, "_pass_gates", pass_gates)
    return then


def test_what_was_encoded_while_a_release_was_built_is_found_with_it(
    keeper: EngineKeeper, meanwhile: list, store: Store, home: Home
) -> None:
    before = keeper.current()
    served = refresh(store, home, SETTINGS).release_id
    engine = keeper.current()
    assert engine.release.id == served and engine is not before
    assert looks_like(engine, "new") == {"space"}
    assert looks_like(engine, "waiting") == {"sports"}
    anew = EngineKeeper(home, store, SETTINGS, 1e-6).current()
    assert looks_like(anew, "new") == {"space"} and looks_like(anew, "waiting") == {"sports"}


@pytest.mark.parametrize("heard_of_it_before", [True, False])
def test_a_changed_file_keeps_its_new_looks(
    keeper: EngineKeeper, meanwhile: list, store: Store, home: Home, heard_of_it_before: bool
) -> None:
    if heard_of_it_before:
        meanwhile.append(keeper.current)
    keeper.current()
    refresh(store, home, SETTINGS)
    assert looks_like(keeper.current(), "space-0") == {"cooking"}, "though the release does not know"


def test_of_two_changes_the_newer_one_is_served_after_a_swap(keeper: EngineKeeper, store: Store, home: Home) -> None:
    table = EmbeddingTable.create(home.embeddings, ENCODER, 8)

    def becomes_like(other: str, content: str) -> None:
        vectors = EmbeddingTable.open(table.folder)
        table.append(["space-0"], vectors.matrix[vectors.rows_of([other])])
        store.catalogue.note_content("space-0", content * 64)
        store.catalogue.mark_ready("space-0", ENCODER, MediaFacts())

    becomes_like("cooking-1", "c")
    assert looks_like(keeper.current(), "space-0") == {"cooking"}
    # Nobody asks between the second change and the release that knows it.
    becomes_like("sports-1", "d")
    refresh(store, home, SETTINGS)
    assert looks_like(keeper.current(), "space-0") == {"sports"}
    assert looks_like(keeper.current(), "space-0") == {"sports"}


def test_the_delta_shrinks_with_every_release(keeper: EngineKeeper, store: Store, home: Home) -> None:
    for number in range(3):
        add_encoded(store, home, f"new-{number}", like="space-3", published_at=NOW)
        assert len(keeper.current().index.delta_columns) == 1
        refresh(store, home, SETTINGS)
        engine = keeper.current()
        assert len(engine.index.delta_columns) == 0 and len(engine.index) == 31 + number
        np.testing.assert_array_equal(engine.view.shown, True)
