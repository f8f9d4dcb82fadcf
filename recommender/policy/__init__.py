"""The policy: from scored candidates to the slate that is shown, in stages, each in a file of its own.

 1. fatigue       shown again and again without a click: later, then not at all
 2. rules         editors' boosts multiply scores, blocks take out
 3. freshness     a bonus for what was published lately; new videos are lifted, within a budget
 4. duplicates    at most one of a group of near-duplicates, none when one of them was watched
 5. diversity     what resembles the slate so far is less welcome (MMR or DPP)
 6. calibration   labels in the shares in which they were watched
 7. caps          so many of a creator, series or label, in a slate and in a few places in a row
 8. pins          editors' choices at their places
 9. exploration   with a small, logged probability one place is drawn by chance
10. back-fill     what no source found, newest first, rather than a short slate; then what may not be shown at all is
                  taken out once more

Stages 1 to 3 change scores (`rescoring`); 4 to 7 say at each place what may have it and how welcome it is (`arrange`).
A place that nobody may have is first offered to the back-fill. After that constraints are given up in this order, from
that place on, and named: caps of labels, of creators, of series, fatigue, duplicates. Never given up: what a request
makes ineligible (takedown, availability, region, rating, watched), and blocks. Pins are an editor's word: caps, fatigue
and duplicates do not keep them out, but they count.

All is decided by the request, its seed included, and the facts: the same question has the same answer. Without any
stage on, the slate is the candidates, best first.
"""

import numpy as np

from recommender.policy.arrange import Arrangement, arrange
from recommender.policy.assembly import assemble
from recommender.policy.facts import Facts
from recommender.policy.pins import pinned_places
from recommender.policy.rescoring import Rescored, rescore
from recommender.policy.rules import Rulebook, RuleEffect
from recommender.policy.settings import PolicySettings, constraints_of, preferences_of
from recommender.policy.shortlist import Shortlist
from recommender.policy.stages import RULES, Scored, Slate, SlateRequest

__all__ = ["RULES", "Facts", "Policy", "PolicySettings", "Rulebook", "Scored", "Slate", "SlateRequest"]

#: Videos that no source found and that are looked at when candidates cannot fill a slate, where so many are wanted.
MIN_BACK_FILL = 1_000
_NOTHING = np.zeros(0, np.int64)


class Policy:
    """The policy over the videos of one release. Safe to share between threads."""

    def __init__(self, facts: Facts, settings: PolicySettings | None = None, rulebook: Rulebook | None = None) -> None:
        self.facts = facts
        self.settings = settings or PolicySettings()
        self.rulebook = rulebook

    def select(self, request: SlateRequest, candidates: Scored) -> Slate:
        """The slate: min(limit, number of videos that may be shown) items, none twice."""
        effect = self.rulebook.effect(request) if self.rulebook else RuleEffect()
        scored = rescore(request, candidates, self.facts, effect, self.settings.fatigue, self.settings.freshness)
        pins = self._pins(request, scored, effect)
        spread = _spread(candidates.scores, self.settings.diversity.pool)
        shortlist = Shortlist.build(self.facts, scored, pins, _NOTHING)
        arrangement = self._arrange(request, shortlist, pins, spread, relax=False)
        if not arrangement.is_full:
            shortlist = Shortlist.build(self.facts, scored, pins, self._back_fill(request, shortlist, effect))
            arrangement = self._arrange(request, shortlist, pins, spread, relax=True)
        return assemble(request, candidates, self.settings, effect, scored, shortlist, arrangement)

    def _pins(self, request: SlateRequest, scored: Rescored, effect: RuleEffect) -> dict[int, int]:
        if not effect.pins:
            return {}
        allowed = _allowed(request, effect)
        places = min(request.limit, int(allowed.sum()))
        return pinned_places(effect.pins, places, scored.columns, allowed, self.facts.newest_first)

    def _arrange(
        self, request: SlateRequest, shortlist: Shortlist, pins: dict[int, int], spread: float, relax: bool
    ) -> Arrangement:
        pool = self.settings.diversity.pool
        return arrange(
            shortlist.worth(pool, spread),
            dict(zip(pins, range(shortlist.pinned), strict=True)),
            preferences_of(self.settings, request, shortlist),
            constraints_of(self.settings, request, shortlist),
            request.limit,
            relax,
        )

    def _back_fill(self, request: SlateRequest, shortlist: Shortlist, effect: RuleEffect) -> np.ndarray:
        """Videos that may be shown and are not in the shortlist, newest first: (b,) int64 columns."""
        allowed = _allowed(request, effect)
        allowed[shortlist.columns] = False
        newest = self.facts.newest_first
        return newest[allowed[newest]][: max(MIN_BACK_FILL, 10 * request.limit)]


def _allowed(request: SlateRequest, effect: RuleEffect) -> np.ndarray:
    """(V,) bool, a copy: what may be shown at all."""
    return request.eligible.copy() if effect.blocked is None else request.eligible & ~effect.blocked


def _spread(scores: np.ndarray, pool: int) -> float:
    """How far the scores of the best `pool` candidates are apart: the unit in which diversity weighs relevance, so that
    its strength means the same for every scorer. From before any factors, which may be of any size."""
    return float(scores[0] - scores[min(pool, len(scores)) - 1]) if len(scores) > 0 else 0.0
