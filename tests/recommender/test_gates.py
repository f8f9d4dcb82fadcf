"""Gates: viewers whom nobody learned from tell whether a release is worse, and each bound is named with its number."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.home import Home
from data.store import Store
from recommender.building import GateError
from recommender.engine import Engine
from recommender.gate_settings import GateSettings
from recommender.gates import Comparison, held_back, quality_failures, size_failures
from recommender.refresh import refresh
from recommender.release import Releases
from recommender.settings import RecommenderSettings
from tests.recommender.small_world import SETTINGS, watch
from tests.recommender.test_refresh import fill_with_followers, only

NAMES = np.array([f"viewer-{number}" for number in range(2_000)], dtype=object)


@given(st.floats(0, 1), st.floats(0, 1))
def test_of_a_smaller_share_the_same_viewers_are_held_back(one: float, other: float) -> None:
    few, many = (held_back(NAMES, share) for share in sorted((one, other)))
    assert not (few & ~many).any()
    assert many.mean() == pytest.approx(max(one, other), abs=0.05)


def test_who_is_held_back_does_not_depend_on_who_else_is_there() -> None:
    np.testing.assert_array_equal(held_back(NAMES[::-3], 0.3), held_back(NAMES, 0.3)[::-3])


@pytest.mark.parametrize(("viewers", "share"), [(599, 0.0), (600, 0.05), (20_000, 0.05), (200_000, 0.005), (0, 0.0)])
def test_a_share_is_held_back_where_that_tells_anything(viewers: int, share: float) -> None:
    assert GateSettings(most_held_back=1_000).share_held_back(viewers) == share


def test_what_has_shrunk_is_named() -> None:
    running = {"videos": 100, "embeddings": 100, "interactions": 1_000}
    assert list(size_failures({"videos": 90, "embeddings": 100, "interactions": 2_000}, running, 0.9)) == []
    (failure,) = size_failures({"videos": 100, "embeddings": 89, "interactions": 900}, running, 0.9)
    assert str(failure) == "gate size: 89 embeddings where the running release has 100; 90% are needed"


@pytest.mark.parametrize(
    ("high", "coverage", "loss", "failing"),
    [(-0.01, 0.5, 0.0, ["ndcg"]), (0.001, 0.5, 0.0, []), (-0.01, 0.5, 0.1, []), (0.0, 0.2, 0.0, ["coverage"])],
)
def test_only_what_chance_does_not_explain_fails(high: float, coverage: float, loss: float, failing: list[str]) -> None:
    found = Comparison(100, 0.18, 0.2, -0.05, high, coverage, 0.5)
    settings = GateSettings(ndcg_loss=loss)
    assert [failure.gate for failure in quality_failures(found, settings)] == failing


def arrays(home: Home, release: str) -> dict[str, bytes]:
    """The contents of what was learned, but for factors, which begin with those of the release before."""
    parts = ("popularity.*.npy", "sequential.*.npy", "walks.*.npy")
    return {path.name: path.read_bytes() for part in parts for path in (home.releases / release).glob(part)}


# ---- Of whole releases -----------------------------------------------------------------------------------------


def judged_by(source: str, **gates: object) -> RecommenderSettings:
    """Lists of one source, compared on four in ten viewers."""
    strict = {"held_back": 0.4, "fewest_judged": 10, "window_share": 0.2}
    return only(source, enabled=False).model_copy(update={"gates": GateSettings.model_validate(strict | gates)})


def test_a_release_whose_lists_are_worse_is_not_published(store: Store, home: Home) -> None:
    fill_with_followers(store)
    served = refresh(store, home, judged_by("sequential"))
    assert "quality" not in served.facts["gates"], "there was nothing to compare with"
    assert served.facts["held_back"] == 0.4

    with pytest.raises(GateError, match=r"gate ndcg: NDCG@10 of \d+ held-back viewers is 0\.\d+, that of the running"):
        refresh(store, home, judged_by("popular"))
    assert Releases(home.releases).current_id() == served.release_id

    accepted = refresh(store, home, judged_by("popular"), accept=["ndcg", "coverage"])
    quality = accepted.facts["gates"]["quality"]
    assert quality["ndcg"] < quality["running_ndcg"] and quality["high"] < 0 and quality["viewers"] >= 10
    assert accepted.facts["accepted"][0].startswith("gate ndcg: ")
    better = refresh(store, home, judged_by("sequential")).facts
    assert better["gates"]["quality"]["low"] > 0 and better["accepted"] == []


def test_lists_that_show_everybody_the_same_are_not_published(store: Store, home: Home) -> None:
    fill_with_followers(store)
    refresh(store, home, judged_by("sequential"))
    with pytest.raises(GateError, match=r"gate coverage: \d+\.\d+% of the catalogue is in the lists"):
        refresh(store, home, judged_by("popular", ndcg_loss=1.0))


def test_nothing_is_learned_from_who_is_held_back(store: Store, home: Home) -> None:
    """Whatever they do, no array of a release changes."""
    fill_with_followers(store)
    settings = judged_by("sequential")
    settings.sources.collaborative.enabled = settings.sources.walks.enabled = True
    unseen, known = ((f"alone-{number}" for number in range(100)) for _ in range(2))
    unseen = next(name for name in unseen if held_back(np.array([name], object), 0.4)[0])
    known = next(name for name in known if not held_back(np.array([name], object), 0.4)[0])
    first = refresh(store, home, settings)
    watch(store, unseen, ["episode-0", "episode-5", "episode-9"])
    second = refresh(store, home, settings)
    assert second.facts["counts"]["viewers"] == first.facts["counts"]["viewers"] + 1, "they are counted"
    assert arrays(home, second.release_id) == arrays(home, first.release_id)
    watch(store, known, ["episode-0", "episode-5", "episode-9"])
    assert arrays(home, refresh(store, home, settings).release_id) != arrays(home, second.release_id)

    engine = Engine.open(home, store, settings)
    assert engine.profile(store.events.history(unseen)).known, "and are served from their histories like all others"


def test_a_release_that_learned_from_everybody_is_no_measure(store: Store, home: Home) -> None:
    fill_with_followers(store)
    refresh(store, home, judged_by("sequential", held_back=0.0))
    assert "quality" not in refresh(store, home, judged_by("popular")).facts["gates"]


def test_where_there_are_few_viewers_all_are_learned_from(world: Store, home: Home) -> None:
    facts = refresh(world, home, SETTINGS).facts
    assert facts["held_back"] == 0.0 and refresh(world, home, SETTINGS).facts["gates"] == {"recall": 1.0}


def test_a_catalogue_that_has_lost_much_is_not_published(world: Store, home: Home) -> None:
    refresh(world, home, SETTINGS)
    world.catalogue.remove([f"space-{number}" for number in range(10)])
    with pytest.raises(GateError, match=r"gate size: 20 videos where the running release has 30; 90% are needed"):
        refresh(world, home, SETTINGS)
    assert refresh(world, home, SETTINGS, accept=["size"]).facts["counts"]["videos"] == 20
