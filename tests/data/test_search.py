"""Videos are found by words, on SQLite and on PostgreSQL alike: the same tests run on both."""

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data.home import Home
from data.schema import Video
from data.store import Store, search
from data.words import folded, words

VIDEOS = (
    Video(id="odyssey", title="Space Odyssey", labels=["science fiction"], creator="José Ñandú"),
    Video(id="ship", title="Spaceship 2001", tags=["rockets"], description="A long way to the coffee machine"),
    Video(id="coffee", title="Coffee for Beginners", series="Kitchen Stories"),
    Video(id="spati", title="Späti bei Nacht", tags=["Straße"], description="space, coffee and more"),
    Video(id="tower", title="東京タワーの夜景"),
    Video(id="poem", title="हिन्दी कविता"),
)


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    opened = Store.open(database_url)
    opened.catalogue.upsert(VIDEOS)
    yield opened
    opened.close()


def found(store: Store, text: str, limit: int = 10) -> list[str]:
    """The ids of the videos that a text finds, best first."""
    store.search.catch_up()
    numbers, scores = store.search.find(text, limit)
    assert len(numbers) == len(scores) and list(scores) == sorted(scores, reverse=True)
    assert ((scores >= 0) & (scores <= 1)).all()
    name_of = {record.number: record.id for record in store.catalogue.all()}
    return [name_of[int(number)] for number in numbers]


@pytest.mark.parametrize(
    ("text", "video"),
    [
        ("odyssey", "odyssey"),
        ("SPÄTI", "spati"),
        ("spati", "spati"),
        ("strasse", "spati"),
        ("jose nandu", "odyssey"),
        ("kitchen", "coffee"),
        ("ROCKETS", "ship"),
        ("spacesh", "ship"),
        ("2001", "ship"),
        ("coffee beg", "coffee"),
        ("タワー", "tower"),
        ("東京", "tower"),
        ("हिन्दी", "poem"),
        ("cofee begginers", "coffee"),
        ("odyssye", "odyssey"),
        ("science fictoin", "odyssey"),
    ],
)
def test_what_is_written_anywhere_is_found_whatever_its_case_accents_and_spelling(
    store: Store, text: str, video: str
) -> None:
    assert found(store, text)[0] == video


def test_the_title_counts_more_than_the_rest_and_all_words_more_than_some(store: Store) -> None:
    assert found(store, "coffee") == ["coffee", "spati", "ship"] or found(store, "coffee") == [
        "coffee",
        "ship",
        "spati",
    ]
    assert found(store, "space")[0] == "odyssey" and set(found(store, "space")) == {"odyssey", "spati", "ship"}
    assert found(store, "coffee machine")[0] == "ship" and "coffee" in found(store, "coffee machine")
    assert found(store, "coffee unheardof")[0] == "coffee", "a word that nobody knows is no reason to find nothing"
    assert found(store, "space", limit=1) == ["odyssey"]


@pytest.mark.parametrize("text", ["", " ", "...", "*", '"', "x", "unheardof", "👍", "a" * 5_000, "\u0301"])
def test_what_is_nowhere_finds_nothing(store: Store, text: str) -> None:
    assert found(store, text) == []


@pytest.mark.parametrize(
    "text",
    [
        '" OR 1=1',
        "'; DROP TABLE videos; --",
        "NEAR(space coffee)",
        "title:space",
        "space* AND (",
        "^space",
        "a & b | !c:*",
    ],
)
def test_what_means_something_to_a_database_is_only_words(store: Store, text: str) -> None:
    asked = set(words(text))
    for name in found(store, text):
        video = next(video for video in VIDEOS if video.id == name)
        written = " ".join([video.title, *video.tags, *video.labels, video.description])
        assert any(word.startswith(part) for part in asked for word in words(written))
    assert len(list(store.catalogue.all())) == len(VIDEOS)


def test_what_is_written_later_counts_and_what_is_gone_is_not_found(store: Store) -> None:
    assert found(store, "penguin") == []
    assert store.search.is_current()
    store.catalogue.upsert([Video(id="coffee", title="Penguins")])
    assert not store.search.is_current()
    assert found(store, "penguin") == ["coffee"] and "coffee" not in found(store, "beginners")
    store.catalogue.set_predicted_labels({"ship": {"penguin": 0.9, "walrus": 0.1}})
    assert set(found(store, "penguin")) == {"coffee", "ship"} and found(store, "walrus") == []
    store.catalogue.remove(["coffee"])
    assert found(store, "penguin") == ["ship"]
    store.catalogue.upsert([Video(id="coffee", title="Penguins again")])
    assert found(store, "penguins again")[0] == "coffee"


def test_a_large_change_is_taken_in_parts(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "BATCH", 7)
    store.catalogue.upsert(Video(id=f"v{number}", title=f"Film{number} walrus") for number in range(30))
    assert len(found(store, "walrus", 100)) == 30
    assert found(store, "film29") == ["v29"]


def test_words_that_very_many_videos_have_find_the_newest(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "MANY", 5)
    store.catalogue.upsert(Video(id=f"v{number}", title=f"Walrus {number}xyz") for number in range(10))
    assert found(store, "walrus") == ["v9", "v8", "v7", "v6", "v5"]
    assert found(store, "walrus 3xyz")[0] == "v3", "beside a rarer word it counts as before"


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(min_size=1, max_size=60))
def test_any_text_can_be_asked_and_any_title_is_found_by_itself(home: Home, text: str) -> None:
    store = Store.open(home.database_url)
    title = text.replace("\x00", " ")
    store.catalogue.upsert([*VIDEOS, Video(id="it", title=title)])
    answer = found(store, text)
    store.close()
    assert ("it" in answer) == bool(list(words(title)))


@given(st.text(max_size=40))
def test_folding_is_done_once_and_for_all(text: str) -> None:
    assert folded(folded(text)) == folded(text)
    for word in words(text):
        assert list(words(word)) == [word] or len(word) == 2
