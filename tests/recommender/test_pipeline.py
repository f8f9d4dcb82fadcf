"""The pipeline: whatever its sources do, a request gets a list, and nothing in it that a filter forbids."""

import time
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommender.pipeline import REST_S, Pipeline, PipelineSettings
from recommender.pipeline.scorers import ReciprocalRankFusion
from recommender.pipeline.sources.settings import SourceSettings
from recommender.pipeline.stages import Found, Query, Ranked, Ranker, Trace
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


class Clock:
    """Stands in for the module `time` of the pipeline: time passes when a source says so."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def monotonic(self) -> float:
        return self.now

    perf_counter = monotonic


class Takes(Listed):
    """A source that takes `ms` milliseconds by the clock."""

    def __init__(self, name: str, columns: Sequence[int], clock: Clock, ms: float) -> None:
        super().__init__(name, columns)
        self.clock, self.ms, self.asked = clock, ms, 0

    def candidates(self, query: Query, eligible: np.ndarray, k: int) -> Found:
        self.asked += 1
        self.clock.now += self.ms / 1000
        return super().candidates(query, eligible, k)


class Backwards:
    """A ranker that turns the order of the columns round, and keeps what it was shown."""

    def __init__(self) -> None:
        self.shown: list[list[int]] = []

    def scores(self, features: np.ndarray) -> np.ndarray:
        self.shown.append(features[:, 0].tolist())
        return (0.5 + features[:, 0] / 100).astype(np.float32)


class BrokenRanker(Backwards):
    def scores(self, features: np.ndarray) -> np.ndarray:
        raise RuntimeError("the trees are gone")


class Only:
    """A filter that keeps these columns."""

    def __init__(self, name: str, columns: Sequence[int]) -> None:
        self.name, self._mask = name, np.isin(np.arange(VIDEOS), columns)

    def take_out(self, query: Query, mask: np.ndarray) -> None:
        mask &= self._mask

    def same_for(self, query: Query) -> None:
        return None


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


def pipeline(
    *sources: Listed,
    filters: Sequence[Only] = (),
    quota: int = 300,
    ranker: Ranker | None = None,
    **options: object,
) -> Pipeline:
    chosen = PipelineSettings.model_validate(options)
    return Pipeline(
        size=VIDEOS,
        filters=filters,
        sources=sources,
        scorer=ReciprocalRankFusion(),
        hydrators=[BrokenFacts(), Facts()],
        settings=chosen,
        quotas={source.name: SourceSettings(candidates=quota) for source in sources},
        ranker=ranker,
        describe=lambda query, candidates: candidates.columns[:, None].astype(np.float32),
    )


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    stopped = Clock()
    monkeypatch.setattr("recommender.pipeline.time", stopped)
    return stopped


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


def test_what_a_filter_takes_out_is_worked_out_once_for_requests_that_have_the_same_in_common() -> None:
    class Country(Only):
        asked = 0

        def take_out(self, query: Query, mask: np.ndarray) -> None:
            self.asked += 1
            mask[0 if query.country == "FR" else 1] = False

        def same_for(self, query: Query) -> str:
            return query.country or ""

    country = Country("country", [])
    built = pipeline(filters=[country, Only("own", [0, 1, 2])])
    for _ in range(2):
        assert np.flatnonzero(built.eligible(query(country="FR"))).tolist() == [1, 2]
        assert np.flatnonzero(built.eligible(query())).tolist() == [0, 2]
    assert country.asked == 2
    built.eligible(query())[:] = False
    assert np.flatnonzero(built.eligible(query())).tolist() == [0, 2], "a mask is the caller's own"


# ---- What sources cost, and how much they count --------------------------------------------------------------

DEADLINE_MS = SourceSettings().deadline_ms


def warnings_of(built: Pipeline) -> list[str]:
    trace = Trace()
    built.rank(query(2), trace)
    return trace.warnings


def test_a_source_that_is_too_slow_three_times_in_a_row_rests_for_a_while(clock: Clock) -> None:
    slow = Takes("slow", [3], clock, 2 * DEADLINE_MS)
    built = pipeline(slow, Listed("fine", [7]))
    assert [warnings_of(built) for _ in range(3)] == [[]] * 3
    assert warnings_of(built) == ["source slow was left out: it has been too slow"]
    clock.now += REST_S - 0.01
    assert len(warnings_of(built)) == 1 and slow.asked == 3
    clock.now += 0.02
    assert warnings_of(built) == [] and slow.asked == 4, "it is asked again, and has three more trials"
    assert [warnings_of(built) for _ in range(3)] == [[], [], ["source slow was left out: it has been too slow"]]


def test_a_source_that_is_in_time_now_and_then_does_not_rest(clock: Clock) -> None:
    source = Takes("at times", [3], clock, 0)
    built = pipeline(source)
    for turn in range(12):
        source.ms = 0 if turn % 3 == 2 else 2 * DEADLINE_MS
        assert warnings_of(built) == []


def test_a_last_resort_never_rests(clock: Clock) -> None:
    resort = Takes("resort", [3], clock, 2 * DEADLINE_MS)
    resort.last_resort = True
    built = pipeline(resort)
    assert [warnings_of(built) for _ in range(5)] == [[]] * 5 and resort.asked == 5


def test_a_source_that_would_take_longer_than_is_left_is_not_asked(clock: Clock) -> None:
    heavy, other = Takes("heavy", [3], clock, 40), Takes("other", [4], clock, 1)
    built = pipeline(other, heavy, deadline_ms=60)
    for _ in range(30):
        assert warnings_of(built) == []
    other.ms = 30
    assert warnings_of(built) == ["source heavy was left out: no time was left for it"]
    other.ms = 1
    assert warnings_of(built) == []


def test_a_source_finds_as_many_as_its_quota_and_a_last_resort_as_many_as_are_asked_for() -> None:
    everything = list(range(VIDEOS))
    resort = Listed("resort", everything)
    resort.last_resort = True
    built = Pipeline(
        VIDEOS, [], [Listed("a", everything), Listed("b", everything), resort], ReciprocalRankFusion(), [],
        PipelineSettings(), {name: SourceSettings(candidates=k) for name, k in (("a", 3), ("b", 5), ("resort", 4))},
    )  # fmt: skip
    for limit, of_resort in ((2, 4), (20, 20)):
        trace = Trace()
        built.rank(query(limit), trace)
        assert trace.found == {"a": 3, "b": 5, "resort": of_resort}


def impersonal(name: str, columns: Sequence[int], weight: float) -> Listed:
    source = Listed(name, columns, weight)
    source.personal = False
    return source


def test_what_is_impersonal_weighs_relative_to_the_personal_sources_that_found_something() -> None:
    personal = Listed("a", [1], 2.0), Listed("b", [2], 1.5), Listed("finds nothing", [], 5.0)
    ranked = pipeline(*personal, impersonal("p", [9], 0.5)).rank(query(3), Trace())
    assert ranked.columns.tolist() == [1, 9, 2]
    np.testing.assert_allclose(ranked.scores, [2 / 61, 0.5 * 3.5 / 61, 1.5 / 61], rtol=1e-6)
    alone = pipeline(personal[2], impersonal("p", [9], 0.5), impersonal("q", [8], 0.25)).rank(query(2), Trace())
    np.testing.assert_allclose(alone.scores, [0.5 / 61, 0.25 / 61], rtol=1e-6)
    asked = pipeline(*personal, impersonal("p", [9], 0.5)).rank(query(1, weights={"p": 3.0}), Trace())
    np.testing.assert_allclose(asked.scores[0], 3 / 61, rtol=1e-6, err_msg="a request's weights are taken as they are")


# ---- The ranker ----------------------------------------------------------------------------------------------


def test_a_ranker_orders_the_best_of_the_fusion_and_the_others_stay_behind_them() -> None:
    ranker = Backwards()
    built = pipeline(Listed("a", range(20), 100.0), Listed("b", [2], 50.0), ranker=ranker, ranked=10)
    trace = Trace()
    ranked = built.rank(query(25), trace)
    assert sorted(ranker.shown[0]) == list(range(10))
    assert ranked.columns.tolist()[:20] == [*range(9, -1, -1), *range(10, 20)]
    np.testing.assert_allclose(ranked.scores[:10], 0.5 + np.arange(9, -1, -1) / 100, rtol=1e-6)
    assert (np.diff(ranked.scores) <= 0).all()
    assert (ranked.scores[:20] > 0).all() and len(ranked) == 25, "and a list is filled up all the same"
    assert [built.source_names(int(bits)) for bits in ranked.found_by[7:10]] == [["a", "b"], ["a"], ["a"]]
    assert trace.warnings == [] and "rank" in trace.timings_ms


def test_a_ranker_that_fails_is_left_out_and_named() -> None:
    trace = Trace()
    ranked = pipeline(Listed("a", [7, 3]), ranker=BrokenRanker()).rank(query(2), trace)
    assert ranked.columns.tolist() == [7, 3] and trace.warnings == ["the ranker was left out: it failed"]
    np.testing.assert_allclose(ranked.scores, [1 / 61, 1 / 62], rtol=1e-6)


def test_a_ranker_for_which_no_time_is_left_is_left_out_and_named(clock: Clock) -> None:
    ranker, trace = Backwards(), Trace()
    ranked = pipeline(Takes("slow", [3, 7], clock, 250), ranker=ranker).rank(query(2), trace)
    assert (ranked.columns.tolist(), ranker.shown) == ([3, 7], [])
    assert trace.warnings == ["the ranker was left out: no time was left for it"]


def test_a_request_with_weights_or_for_some_sources_only_has_no_ranker() -> None:
    ranker = Backwards()
    built = pipeline(Listed("a", [3, 7]), ranker=ranker)
    assert built.rank(query(2, weights={"a": 1.0}), Trace()).columns.tolist() == [3, 7]
    assert built.rank(query(2), Trace(), only={"a"}).columns.tolist() == [3, 7]
    assert ranker.shown == []
    assert built.rank(query(2), Trace()).columns.tolist() == [7, 3]


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


def test_one_stall_does_not_keep_a_source_out_for_good() -> None:
    source = Slow("stalls", [6])
    built = pipeline(source, Listed("other", [3]), deadline_ms=20.0)
    built.rank(query(2), Trace())
    source.candidates = Listed("stalls", [6]).candidates  # type: ignore[method-assign]
    found = [built.rank(query(2), Trace()).columns.tolist() for _ in range(30)]
    assert 6 in found[-1]
