"""The slate out of an arrangement: exploration, the last check, and what is told of each item."""

from collections.abc import Sequence

import numpy as np

from recommender.policy.arrange import Arrangement
from recommender.policy.exploration import draw, exploring_place
from recommender.policy.rescoring import Rescored
from recommender.policy.rules import RuleEffect
from recommender.policy.settings import PolicySettings, constraints_of
from recommender.policy.shortlist import Shortlist
from recommender.policy.stages import Constraint, Scored, Slate, SlateRequest


def assemble(
    request: SlateRequest,
    candidates: Scored,
    settings: PolicySettings,
    effect: RuleEffect,
    scored: Rescored,
    shortlist: Shortlist,
    arrangement: Arrangement,
) -> Slate:
    """What is shown and told of it; the places that nothing was left for are at the end, and go."""
    rows = arrangement.rows[arrangement.rows >= 0]
    planned = shortlist.columns[rows]
    propensity = np.ones(len(rows))
    pinned = np.flatnonzero(rows < shortlist.pinned)
    explored = None
    place = exploring_place(len(rows), pinned.tolist(), settings.exploration)
    if place is not None:
        held = {constraint.name for constraint in arrangement.held}
        constraints = constraints_of(settings, request, shortlist)
        holding = [constraint for constraint in constraints if constraint.name in held]
        drawn = draw(_could_stand_at(place, rows, shortlist, holding), request.seed, settings.exploration)
        propensity[place] = drawn.propensity
        if drawn.row is not None:
            rows[place] = drawn.row
            explored = place
    columns = shortlist.columns[rows]

    def kept_out() -> list[tuple[str, np.ndarray]]:
        replaced = planned[planned != columns]
        return [
            *scored.kept_out,
            ("exploration", replaced),
            *_closed(shortlist, rows, arrangement.held),
            _outranked(scored.columns[: request.limit], columns, settings, shortlist),
        ]

    allowed = request.eligible[columns]
    if effect.blocked is not None:
        allowed &= ~effect.blocked[columns]
    rules = _rules(columns, pinned.tolist(), explored, scored.lifted, effect)
    source = shortlist.rows[rows]
    found_by = candidates.found_by[source] if len(candidates.found_by) > 0 else np.zeros(len(rows), np.uint32)
    found_by[source < 0] = 0
    slate = Slate(
        rows=source,
        columns=columns,
        scores=shortlist.relevance[rows] + scored.floor,
        found_by=found_by,
        rules=rules,
        propensity=propensity,
        relaxed=arrangement.relaxed,
        kept_out=kept_out,
    )
    return slate if allowed.all() else slate.take(np.flatnonzero(allowed))


def _could_stand_at(
    place: int, rows: np.ndarray, shortlist: Shortlist, constraints: Sequence[Constraint]
) -> np.ndarray:
    """The candidates, best first, that have no place and that no constraint keeps out of this one."""
    for other, row in enumerate(rows.tolist()):
        if other != place:
            for constraint in constraints:
                constraint.placed(row, other)
    free = np.zeros(len(shortlist.rows), bool)
    free[shortlist.pinned : shortlist.pinned + shortlist.candidates] = True
    free[rows] = False
    for constraint in constraints:
        free &= ~constraint.closed(place)
    return np.flatnonzero(free)


def _closed(shortlist: Shortlist, rows: np.ndarray, constraints: Sequence[Constraint]) -> list[tuple[str, np.ndarray]]:
    """What each constraint kept out of all places. The first to be given up is named last: the others weigh more."""
    found = []
    for constraint in reversed(constraints):
        closed = constraint.closed(None).copy()
        closed[rows] = False
        found.append((constraint.name, shortlist.columns[closed]))
    return found


def _outranked(
    best: np.ndarray, columns: np.ndarray, settings: PolicySettings, shortlist: Shortlist
) -> tuple[str, np.ndarray]:
    """What scored well enough for a place and did not get it, under the first stage at work that moves such rows."""
    at_work = {
        "diversity": settings.diversity.method != "none" and settings.diversity.strength > 0,
        "calibration": settings.calibration.strength > 0,
        "caps": settings.caps.limits,
        "pins": shortlist.pinned > 0,
    }
    return next((name for name, on in at_work.items() if on), "freshness"), best[~np.isin(best, columns)]


def _rules(
    columns: np.ndarray, pinned: Sequence[int], explored: int | None, lifted: np.ndarray, effect: RuleEffect
) -> tuple[str | None, ...]:
    rules: list[str | None] = [None] * len(columns)
    if effect.factor is not None:
        rules = ["boosted" if factor > 1 else None for factor in effect.factor[columns].tolist()]
    if len(lifted) > 0:
        new = set(lifted.tolist())
        rules = ["new" if column in new else rule for column, rule in zip(columns.tolist(), rules, strict=True)]
    for place in pinned:
        rules[place] = "pinned"
    if explored is not None:
        rules[explored] = "explored"
    return tuple(rules)
