"""From scored candidates to the slate of a request: the policy, given what the catalogue and the editors say now."""

import math

import numpy as np

from recommender.catalogue_view import CatalogueView
from recommender.live_index import LiveIndex
from recommender.novelty import NewVideos
from recommender.pipeline.stages import Query, Ranked
from recommender.policy import Facts, Policy, PolicySettings, Rulebook, Scored, Slate, SlateRequest
from recommender.policy.looks import Looks, compact_looks
from recommender.policy.rules import Codes


class Slates:
    """Makes slates over the columns of a view. `new_from`: bits of the sources whose new videos are lifted; `looks`:
    those of the release, where it has any."""

    def __init__(
        self,
        view: CatalogueView,
        index: LiveIndex,
        new_videos: NewVideos,
        settings: PolicySettings,
        new_from: int,
        looks: Looks | None = None,
    ) -> None:
        self._view = view
        self._new_videos = new_videos
        self._settings = settings
        self._new_from = new_from
        self._built_from: tuple[object, object, object] = (None, None, None)
        self._has_copies = False
        self._policy: Policy | None = None
        self._index = index
        self._base_looks = looks
        self._looks: Looks | None = None

    @property
    def needs_history(self) -> bool:
        """Whether a slate of candidates from a cache depends on more of the viewer than they do."""
        self._current_policy()
        return bool(self._view.rules) or self._settings.calibration.strength > 0 or self._has_copies

    def same_until(self, now: float) -> float:
        """The next moment at which a rule begins or ends."""
        moments = (moment for rule in self._view.rules for moment in (rule.from_, rule.until))
        return min((moment for moment in moments if moment is not None and moment > now), default=math.inf)

    def blocked(self, query: Query) -> np.ndarray | None:
        """(V,) bool: what editors' rules keep out of this request; None for nothing."""
        rulebook = self._current_policy().rulebook
        if rulebook is None or not self._view.rules:
            return None
        return rulebook.effect(self._request(query, np.zeros(0, bool))).blocked

    def make(self, query: Query, ranked: Ranked, eligible: np.ndarray) -> Slate:
        """The slate of a request; eligible: (V,) bool, what may be shown in it at all."""
        policy = self._current_policy()
        taste = _taste(query, policy.facts) if self._settings.calibration.strength > 0 else None
        request = self._request(query, eligible, taste)
        return policy.select(request, Scored(ranked.columns, ranked.scores, ranked.found_by))

    def _request(self, query: Query, eligible: np.ndarray, taste: np.ndarray | None = None) -> SlateRequest:
        return SlateRequest(
            limit=query.limit,
            now=query.now,
            eligible=eligible,
            surface=query.surface,
            country=query.country,
            watched=query.profile.watched,
            taste=taste,
            shown=query.shown,
            showings=query.showings,
            is_new=self._new_videos.mask(query.now),
            known_by=self._new_videos.known_by,
            lifted_by=self._new_from,
            seed=query.seed,
        )

    def _current_policy(self) -> Policy:
        """The policy over the labels, files and rules of this moment, built anew when they have changed."""
        view = self._view
        labels, rules, copies = built_from = view.label_matrix, view.rules, view.duplicate_group
        if self._policy is None or any(now is not then for now, then in zip(built_from, self._built_from, strict=True)):
            facts = Facts(
                creator=view.creator,
                series=view.series,
                labels=labels,
                published_at=view.published_at,
                duplicate_group=copies,
                vectors=self._looks_now(),
            )
            codes = Codes(view.column_of, *(view.codes(kind) for kind in ("label", "creator", "series")))
            self._policy = Policy(facts, self._settings, Rulebook(rules, facts, codes))
            self._built_from = built_from
            self._has_copies = bool((copies >= 0).any())
        return self._policy

    def prepare(self) -> None:
        """Does at once what the first slate would have to wait for."""
        self._current_policy()

    def _looks_now(self) -> Looks:
        if self._looks is None:
            size, index = len(self._view.videos), self._index
            if self._base_looks is None:
                self._looks = compact_looks(index.delta_columns, index.delta_vectors, size)
            else:
                self._looks = self._base_looks.with_embeddings(index.delta_columns, index.delta_vectors, size)
        return self._looks


def _taste(query: Query, facts: Facts) -> np.ndarray | None:
    """The shares of the labels in what the viewer liked: (L,) float32; None when nothing is known."""
    labels = facts.labels
    liked = labels[query.profile.liked]
    counts = np.bincount(liked.indices, np.repeat(query.profile.signal, np.diff(liked.indptr)), labels.shape[1])
    return (counts / counts.sum()).astype(np.float32) if counts.sum() > 0 else None
