"""Transitions: counted by hand, in every viewer's own order."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.interactions import Interactions
from recommender.sequential import TransitionSettings, fit_transitions

UNDISCOUNTED = TransitionSettings(watched_discount=0, following_discount=0)


def interactions(*histories: str, interleaved: bool = False, signal: float = 1.0) -> Interactions:
    """One viewer per word, who liked the videos named by its letters, in their order."""
    pairs = [(viewer, video) for viewer, history in enumerate(histories) for video in history]
    if interleaved:
        places = [place for history in histories for place in range(len(history))]
        pairs = [pairs[row] for row in np.argsort(places, kind="stable")]
    videos = sorted(set("".join(histories)))
    return Interactions(
        np.array([f"viewer-{number}" for number in range(len(histories))], object),
        np.array(videos, object),
        np.array([viewer for viewer, _ in pairs], np.int32),
        np.array([videos.index(video) for _, video in pairs], np.int32),
        np.full(len(pairs), signal, np.float32),
        np.arange(len(pairs), dtype=np.float64),
        np.full(len(pairs), -1, np.int16),
        np.arange(len(pairs), dtype=np.float64),
    )


def by_hand(histories: list[str], videos: str, settings: TransitionSettings) -> np.ndarray:
    expected = np.zeros((len(videos), len(videos)))
    for history in histories:
        for place, before in enumerate(history):
            for distance, after in enumerate(history[place + 1 : place + 1 + settings.window], start=1):
                share = 0.5 ** ((distance - 1) / settings.half_life_items)
                for video, exponent in ((before, settings.watched_discount), (after, settings.following_discount)):
                    share /= sum(video in each for each in histories) ** exponent
                expected[videos.index(before), videos.index(after)] += share
    return expected


@given(
    st.lists(st.permutations("abcdef").flatmap(lambda p: st.integers(0, 6).map(lambda n: "".join(p[:n]))), max_size=5),
    st.integers(1, 7),
    st.tuples(st.sampled_from([0.0, 0.5, 1.0]), st.sampled_from([0.0, 0.3, 1.0])),
    st.booleans(),
)
def test_transitions_are_those_counted_by_hand(
    histories: list[str], window: int, discounts: tuple[float, float], interleaved: bool
) -> None:
    settings = TransitionSettings(
        window=window, half_life_items=2, watched_discount=discounts[0], following_discount=discounts[1]
    )
    fitted = fit_transitions(interactions(*histories, interleaved=interleaved).in_columns("abcdef"), settings)
    np.testing.assert_allclose(fitted.weights.toarray(), by_hand(histories, "abcdef", settings), rtol=1e-5)


def test_the_columns_are_those_of_the_videos_asked_for() -> None:
    fitted = fit_transitions(interactions("abc").in_columns(["c", "new", "a"]), UNDISCOUNTED)
    # The one that is not asked for is no step in between either.
    np.testing.assert_allclose(fitted.weights.toarray(), [[0, 0, 0], [0, 0, 0], [1, 0, 0]])


def test_what_was_disliked_is_not_followed() -> None:
    assert fit_transitions(interactions("abc", signal=-1.0)).weights.nnz == 0


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_the_strongest_of_every_row_are_kept(keep: int) -> None:
    histories = ["abcd", "acbd", "abdc", "bdca"]
    full = fit_transitions(interactions(*histories), UNDISCOUNTED).weights.toarray()
    fitted = fit_transitions(interactions(*histories), UNDISCOUNTED.model_copy(update={"neighbours": keep}))
    for row, whole in zip(fitted.weights.toarray(), full, strict=True):
        strongest = np.sort(whole)[::-1][:keep]
        np.testing.assert_allclose(np.sort(row)[::-1][:keep], strongest)


def test_what_followed_a_newer_video_counts_more() -> None:
    fitted = fit_transitions(interactions("ax", "by"))
    scores = fitted.scores(np.array([1, 0]), np.array([1.0, 0.5], np.float32))
    assert scores[3] > scores[2] > 0 == scores[0]
    np.testing.assert_allclose(
        fitted.contributions(np.array([1, 0]), np.array([1.0, 0.5], np.float32), np.array([2, 3])),
        [[0, scores[3]], [scores[2], 0]],
    )


def test_no_videos_and_no_likes_are_no_error() -> None:
    assert fit_transitions(interactions()).weights.shape == (0, 0)
    assert fit_transitions(interactions("a")).weights.nnz == 0
