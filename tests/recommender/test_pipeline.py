"""The pipeline: whatever its sources do, a request gets a list, and nothing in it that a filter forbids."""

import time
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommender.pipeline import Pipeline, PipelineSettings
from recommender.pipeline.scorers import ReciprocalRankFusion
from recommender.pipeline.sources.settings import SourceSettings
from recommender.pipeline.stages import Found, Query, Ranked, Trace
from recommender.profile import nobody

NOBODY = nobody()
VIDEOS = 30


class Listed:
    """A source that finds a fixed list, as far as it is eligible."""

    last_resort = False
    personal = True

    def __init__(self, name: str, columns: Sequence[int], weight: float = 1.0) -> None:
        self.name, self._columns, self._weight = name, np.array(columns, np.int64), weight

    def enabled(self, query: Query) -> bool:
        return True

    def candidates(self, query: Query, eligible: np.ndarray, k: int) -> Found:
        columns = self._columns[eligible[self._columns]][:k]
        return Found(columns, np.ones(len(columns), np.float32))

    def weight(self, query: Query) -> float:
        return self._weight

    def explain(self, query: Query, columns: np.ndarray) -> np.ndarray:
        return np.full(len(columns), -1)


class Broken(Listed):
    def candidates(self, query: Query, eligible: np.ndarray, k: int) -> Found:
        raise RuntimeError("the model is gone")


class BrokenEarly(Listed):
    def enabled(self, query: Query) -> bool:
        raise RuntimeError("the model is gone")


class Slow(Listed):
    def candidates(self, query: Query, eligible: np.ndarray, k: int) -> Found:
        end = time.perf_counter() + 0.03
        while time.perf_counter() < end:
            pass
        return super().candidates(query, eligible, k)


class Only:
    """A filter that keeps these columns."""

    def __init__(self, name: str, columns: Sequence[int]) -> None:
        self.name, self._mask = name, np.isin(np.arange(VIDEOS), columns)

    def keep(self, query: Query) -> np.ndarray:
        return self._mask


class Facts:
    name = "facts"

    def hydrate(self, query: Query, slate: Ranked) -> list[dict[str, int]]:
        return [{"number": column} for column in slate.columns.tolist()]


class BrokenFacts(Facts):
    name = "broken facts"

    def hydrate(self, query: Query, slate: Ranked) -> list[dict[str, int]]:
        raise RuntimeError("the facts are gone")


def query(limit: int = 10, **fields: object) -> Query:
    return Query(NOBODY, limit, 0.0, **fields)


def pipeline(*sources: Listed, filters: Sequence[Only] = (), quota: int = 300, **options: object) -> Pipeline:
    chosen = PipelineSettings.model_validate(options)
    return Pipeline(
        size=VIDEOS,
        filters=filters,
        sources=sources,
        scorer=ReciprocalRankFusion(),
        hydrators=[BrokenFacts(), Facts()],
        settings=chosen,
        quotas={source.name: SourceSettings(candidates=quota) for source in sources},
    )


def test_scores_are_weighted_sums_of_reciprocal_ranks() -> None:
    ranked = pipeline(Listed("a", [3, 1, 2]), Listed("b", [2, 7], weight=0.5)).rank(query(4), Trace())
    expected = {3: 1 / 61, 1: 1 / 62, 2: 1 / 63 + 0.5 / 61, 7: 0.5 / 62}
    assert ranked.columns.tolist() == sorted(expected, key=lambda column: -expected[column])
    np.testing.assert_allclose(ranked.scores, [expected[column] for column in ranked.columns], rtol=1e-6)


def test_a_request_may_weigh_the_sources_itself() -> None:
    ranked = pipeline(Listed("a", [1]), Listed("b", [2])).rank(query(2, weights={"a": 0.1, "b": 0.9}), Trace())
    assert ranked.columns.tolist() == [2, 1]
    np.testing.assert_allclose(ranked.scores, [0.9 / 61, 0.1 / 61], rtol=1e-6)


def test_an_item_names_the_sources_that_are_behind_its_score() -> None:
    built = pipeline(Listed("a", [5, 6]), Listed("b", [6]), Listed("faint", [5, 6], weight=0.01))
    ranked = built.rank(query(3), Trace())
    named = {int(c): built.source_names(int(bits)) for c, bits in zip(ranked.columns, ranked.found_by, strict=True)}
    assert named == {6: ["a", "b"], 5: ["a"], 0: []}, "what filled the list up was found by nobody"


def test_ties_go_to_the_lower_column() -> None:
    ranked = pipeline(Listed("a", [9, 4]), Listed("b", [4, 9]), Listed("c", [2]), Listed("d", [8])).rank(
        query(4), Trace()
    )
    assert ranked.columns.tolist() == [4, 9, 2, 8]


@pytest.mark.parametrize("kind", [Broken, BrokenEarly])
def test_a_source_that_fails_is_left_out_and_named(kind: type[Listed]) -> None:
    trace = Trace()
    ranked = pipeline(kind("broken", [1]), Listed("fine", [7, 3])).rank(query(2), trace)
    assert ranked.columns.tolist() == [7, 3]
    assert len(trace.warnings) == 1 and "broken" in trace.warnings[0] and trace.found == {"fine": 2}


def test_a_hydrator_that_fails_is_left_out_and_named() -> None:
    trace, built = Trace(), pipeline(Listed("a", [7, 3]))
    slate = built.rank(query(2), trace)
    assert built.hydrate(query(2), slate, trace) == [{"number": 7}, {"number": 3}]
    assert len(trace.warnings) == 1 and "broken facts" in trace.warnings[0]
    assert built.hydrate(query(2), slate, trace, skip=("facts",)) == [{}, {}]


def test_after_the_deadline_no_further_source_is_asked() -> None:
    trace = Trace()
    sources = Listed("first", [5]), Slow("slow", [6]), Listed("late", [7])
    ranked = pipeline(*sources, deadline_ms=20).rank(query(2), trace)
    assert set(ranked.columns.tolist()) == {5, 6}
    assert len(trace.warnings) == 1 and "late" in trace.warnings[0]
    assert {"first", "slow"} <= set(trace.timings_ms) and trace.timings_ms["slow"] >= 30


def test_when_every_source_fails_there_is_still_a_list() -> None:
    keep = Only("window", [2, 4, 6])
    ranked = pipeline(Broken("a", []), Broken("b", []), filters=[keep]).rank(query(2), Trace())
    assert ranked.columns.tolist() == [2, 4]
    late = pipeline(Listed("a", [4]), filters=[keep], deadline_ms=1e-6).rank(query(5), Trace())
    assert late.columns.tolist() == [2, 4, 6]
    assert pipeline(filters=[keep]).rank(query(5), Trace()).columns.tolist() == [2, 4, 6]


def test_the_last_resort_is_asked_after_the_deadline_too() -> None:
    resort = Listed("resort", [9])
    resort.last_resort = True
    trace = Trace()
    ranked = pipeline(Slow("slow", [6]), Listed("late", [7]), resort, deadline_ms=20).rank(query(2), trace)
    assert set(ranked.columns.tolist()) == {6, 9} and len(trace.warnings) == 1


def test_only_the_wanted_sources_are_asked_and_nothing_is_filled_up() -> None:
    ranked = pipeline(Listed("a", [1]), Listed("b", [2])).rank(query(), Trace(), only={"b"})
    assert ranked.columns.tolist() == [2]
    assert pipeline(Listed("a", [1])).rank(query(), Trace(), only={"a"}).found_by.tolist() == [1]


def test_the_filters_that_remove_a_video_are_named() -> None:
    built = pipeline(filters=[Only("hidden", [1, 2]), Only("region", [2, 3])])
    removed = {column: built.removed_by(query(), column) for column in (0, 1, 2, 3)}
    assert removed == {0: ["hidden", "region"], 1: ["region"], 2: [], 3: ["hidden"]}


lists = st.lists(st.integers(0, VIDEOS - 1), unique=True)
kinds = st.sampled_from([Listed, Listed, Broken])
some_sources = st.lists(st.tuples(kinds, lists, st.floats(0, 2)), max_size=4)


@settings(max_examples=200, deadline=None)
@given(some_sources, lists, lists, st.integers(1, 2 * VIDEOS))
def test_a_list_is_as_long_as_the_filters_allow(
    made_of: list[tuple], keep: list[int], keep_too: list[int], limit: int
) -> None:
    sources = [kind(f"s{place}", columns, weight) for place, (kind, columns, weight) in enumerate(made_of)]
    built = pipeline(*sources, filters=[Only("one", keep), Only("other", keep_too)], quota=10)
    ranked = built.rank(query(limit), Trace())
    allowed = set(keep) & set(keep_too)
    assert len(ranked) >= min(limit, len(allowed))
    assert len(set(ranked.columns.tolist())) == len(ranked) and set(ranked.columns.tolist()) <= allowed
    assert (np.diff(ranked.scores) <= 0).all()
    again = built.rank(query(limit), Trace())
    assert ranked.columns.tolist() == again.columns.tolist()
