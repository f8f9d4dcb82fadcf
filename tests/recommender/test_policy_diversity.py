"""Diversity and calibration choose what their papers' formulas, computed the long way, choose."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from recommender.policy import Facts
from recommender.policy.arrange import arrange
from recommender.policy.calibration import SMOOTHING
from recommender.policy.diversity import MaximalMarginalRelevance
from tests.recommender.policy_world import LABELS, VIDEOS, made_facts, plain_facts, policy, request, scored, shown

NO_GROUPS = np.full(VIDEOS, -1, np.int32)
CANDIDATES = 20


def kernel(facts: Facts, columns: np.ndarray, label_share: float) -> np.ndarray:
    """(n, n): the likeness, pair by pair."""
    has_vector, vectors = facts.vectors(columns)
    looks = np.zeros((len(columns), vectors.shape[1]))
    looks[has_vector] = vectors
    sets = [set(facts.labels[column].indices.tolist()) for column in columns]
    common = np.array([[len(a & b) / max(1.0, np.sqrt(len(a) * len(b))) for b in sets] for a in sets])
    return (1 - label_share) * looks @ looks.T + label_share * common


def case(seed: int) -> tuple[Facts, np.ndarray, np.ndarray, np.ndarray]:
    """Facts, columns of candidates, their scores, and these as the stages weigh them: 0 the last, 1 the first."""
    rng = np.random.default_rng(seed)
    columns = rng.permutation(VIDEOS)[:CANDIDATES]
    scores = np.sort(rng.gamma(2.0, size=CANDIDATES))[::-1].astype(np.float32)
    facts = made_facts(seed, duplicate_group=NO_GROUPS)
    return facts, columns, scores, (scores - scores[-1]) / (scores[0] - scores[-1])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.05, 0.9), st.floats(0, 1))
def test_mmr_is_the_formula_of_carbonell_and_goldstein(seed: int, strength: float, label_share: float) -> None:
    facts, columns, scores, relevance = case(seed)
    alike = np.maximum(kernel(facts, columns, label_share), 0)
    placed: list[int] = []
    for _ in range(8):
        nearest = alike[:, placed].max(axis=1, initial=0)
        value = (1 - strength) * relevance - strength * nearest
        value[placed] = -np.inf
        placed.append(int(value.argmax()))
    chooser = policy(facts, diversity={"method": "mmr", "strength": strength, "label_share": label_share})
    assert shown(chooser.select(request(8), scored(columns, scores))) == columns[placed].tolist()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 60), st.integers(1, 70), st.integers(0, 30))
def test_all_places_at_once_are_those_one_after_the_other(seed: int, count: int, limit: int, alike: int) -> None:
    rng = np.random.default_rng(seed)
    worth = rng.permutation(count).astype(np.float32)
    # Whole numbers, so that no order of a sum matters.
    features = rng.integers(0, 3, (min(alike, count), 4)).astype(np.float32)

    class Open:
        name = "open"

        def closed(self, _place: int | None) -> np.ndarray:
            return np.zeros(count, bool)

        def placed(self, row: int, place: int) -> None:
            pass

    at_once, one_by_one = (
        arrange(worth, {}, [MaximalMarginalRelevance(features)], constraints, limit, False)
        for constraints in ([], [Open()])
    )
    assert at_once.rows.tolist() == one_by_one.rows.tolist() and len(at_once.rows) == limit
    assert sorted(worth) == list(range(count)), "what was given is as it was"


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.05, 0.9))
def test_the_dpp_takes_what_makes_the_determinant_largest(seed: int, strength: float) -> None:
    facts, columns, scores, relevance = case(seed)
    alike = kernel(facts, columns, 0.5)
    np.fill_diagonal(alike, 1.0)
    quality = np.exp(relevance * (1 - strength) / strength / 2)
    L = quality[:, None] * alike * quality
    placed: list[int] = []
    for _ in range(5):
        others = [row for row in range(CANDIDATES) if row not in placed]
        volumes = [np.linalg.slogdet(L[np.ix_([*placed, row], [*placed, row])])[1] for row in others]
        placed.append(others[int(np.argmax(volumes))])
    chooser = policy(facts, diversity={"method": "dpp", "strength": strength, "label_share": 0.5})
    assert shown(chooser.select(request(5), scored(columns, scores))) == columns[placed].tolist()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.05, 0.95))
def test_calibration_is_the_greedy_of_steck(seed: int, strength: float) -> None:
    facts, columns, scores, relevance = case(seed)
    taste = np.random.default_rng(seed + 1).dirichlet(np.ones(LABELS)).astype(np.float32)
    taste[0] = 0.0
    p = taste / taste.sum()
    carried = facts.labels[columns].toarray()
    shares = carried / np.maximum(carried.sum(axis=1, keepdims=True), 1)
    placed: list[int] = []
    for _ in range(8):
        value = np.full(CANDIDATES, -np.inf)
        for row in set(range(CANDIDATES)) - set(placed):
            q = (1 - SMOOTHING) * shares[[*placed, row]].mean(axis=0) + SMOOTHING * p
            divergence = (p[p > 0] * np.log(p[p > 0] / q[p > 0])).sum()
            value[row] = (1 - strength) * relevance[row] - strength * divergence
        placed.append(int(value.argmax()))
    slate = policy(facts, calibration={"strength": strength}).select(request(8, taste=taste), scored(columns, scores))
    assert shown(slate) == columns[placed].tolist()


def one_label_each(order: list[int]) -> sp.csr_matrix:
    return sp.csr_matrix((np.ones(VIDEOS, bool), (np.arange(VIDEOS), np.resize(order, VIDEOS))), (VIDEOS, LABELS))


def test_calibrated_labels_come_in_the_shares_of_the_history() -> None:
    facts = plain_facts(labels=one_label_each([0] * 40 + [1] * 20))
    taste = np.array([0.7, 0.3, 0, 0, 0, 0], np.float32)
    slate = policy(facts, calibration={"strength": 0.99}).select(request(10, taste=taste), scored(range(VIDEOS)))
    assert (slate.columns < 40).sum() == 7
    nobody = policy(facts, calibration={"strength": 0.99}).select(request(10), scored(range(VIDEOS)))
    assert shown(nobody) == list(range(10)), "of an unknown taste nothing is known to calibrate to"


@pytest.mark.parametrize("method", ["mmr", "dpp"])
def test_strength_is_a_dial_from_best_first_to_unlike(method: str) -> None:
    cases = [case(seed) for seed in range(20)]
    alike = []
    for strength in (0.0, 0.1, 0.5, 0.9):
        choice = {"method": method, "strength": strength}
        slates = [
            policy(facts, diversity=choice).select(request(6), scored(columns, scores))
            for facts, columns, scores, _ in cases
        ]
        pairs = zip(cases, slates, strict=True)
        alike.append(np.mean([kernel(facts, slate.columns, 0.5).sum() for (facts, *_), slate in pairs]))
        if strength == 0:
            assert {tuple(slate.rows) for slate in slates} == {tuple(range(6))}
    assert alike[0] > alike[1] > alike[2] > alike[3]


def test_the_strength_means_the_same_on_every_scale_of_scores() -> None:
    facts, columns, scores, _ = case(6)
    chooser = policy(facts, diversity={"method": "mmr", "strength": 0.4})
    slates = [
        shown(chooser.select(request(8), scored(columns, a * scores + b))) for a, b in ((1, 0), (0.01, 0), (8, -9))
    ]
    assert slates[0] == slates[1] == slates[2] != columns[:8].tolist()


def test_only_the_pool_is_weighed_up_and_the_rest_follows_best_first() -> None:
    facts, columns, scores, _ = case(7)
    chooser = policy(facts, diversity={"method": "mmr", "strength": 0.8, "pool": 6})
    slate = chooser.select(request(12), scored(columns, scores))
    assert slate.rows[:6].tolist() != list(range(6)) and set(slate.rows[:6]) == set(range(6))
    assert slate.rows[6:].tolist() == list(range(6, 12))
