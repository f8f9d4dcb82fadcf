"""Scores after what is known of the moment: fatigue, rules, freshness. Stages 1 to 3 of the policy."""

from dataclasses import dataclass

import numpy as np

from recommender.policy.facts import Facts
from recommender.policy.fatigue import FatigueSettings, fatigue
from recommender.policy.freshness import FreshnessSettings, freshness_factor, lift_new
from recommender.policy.rules import RuleEffect
from recommender.policy.stages import Scored, SlateRequest

_NONE = np.zeros(0, np.int64)


@dataclass(frozen=True)
class Rescored:
    """The candidates that may be shown, best first: n of them.

    rows: (n,) int64 rows of the candidates; columns: (n,) int64; relevance: (n,) float32 >= 0, the score above `floor`
    with all factors; lifted: (m,) int64 columns of new videos that were lifted; kept_out as in `Slate`.
    """

    rows: np.ndarray
    columns: np.ndarray
    relevance: np.ndarray
    floor: np.float32
    lifted: np.ndarray
    kept_out: list[tuple[str, np.ndarray]]


def rescore(
    request: SlateRequest,
    candidates: Scored,
    facts: Facts,
    effect: RuleEffect,
    fatigue_settings: FatigueSettings,
    freshness_settings: FreshnessSettings,
) -> Rescored:
    """Factors multiply what a score is above `floor`: 0, or the lowest score where scores go below 0."""
    rows, kept_out = _allowed(request, candidates.columns, effect)
    columns, scores = candidates.columns[rows], candidates.scores[rows]
    floor = scores.min(initial=np.float32(0.0))
    relevance = scores - floor
    factors = []
    if (tired := fatigue(request, columns, fatigue_settings)) is not None:
        factors.append(tired.factor)
    if effect.factor is not None:
        factors.append(effect.factor[columns])
    if freshness_settings.bonus > 0:
        factors.append(freshness_factor(facts.published_at[columns], request.now, freshness_settings))
    if factors:
        for factor in factors:
            relevance *= factor
        order = np.argsort(-relevance, kind="stable")
        rows, columns, relevance = rows[order], columns[order], relevance[order]
    lifted = _NONE
    liftable = _liftable(request, candidates, rows)
    if liftable is not None:
        known_by = None if request.known_by is None else request.known_by[columns]
        lifted = columns[lift_new(relevance, liftable, request.limit, freshness_settings, known_by)]
    if len(lifted) > 0:
        order = np.argsort(-relevance, kind="stable")
        rows, columns, relevance = rows[order], columns[order], relevance[order]
    return Rescored(rows, columns, relevance, floor, lifted, kept_out)


def _liftable(request: SlateRequest, candidates: Scored, rows: np.ndarray) -> np.ndarray | None:
    """(n,) bool: which rows are new, and found by a source whose new videos may be lifted; None for none of them."""
    if request.is_new is None or not request.lifted_by:
        return None
    by_these = (candidates.found_by[rows] & np.uint32(request.lifted_by)) != 0
    return request.is_new[candidates.columns[rows]] & by_these if by_these.any() else None


def _allowed(
    request: SlateRequest, columns: np.ndarray, effect: RuleEffect
) -> tuple[np.ndarray, list[tuple[str, np.ndarray]]]:
    """The rows of the columns that may be shown, and those that may not with the reason."""
    kept_out = []
    allowed = request.eligible[columns]
    if not allowed.all():
        kept_out.append(("eligibility", columns[~allowed]))
    if effect.blocked is not None:
        blocked = effect.blocked[columns]
        kept_out.append(("block", columns[blocked & allowed]))
        allowed &= ~blocked
    return np.flatnonzero(allowed), kept_out
