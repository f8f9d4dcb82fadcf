"""Editors' rules over the columns of a release: who is pinned, boosted or blocked in a request.

What a rule is, and which make sense, says `data.schema.Rule`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from data.schema import Rule, RuleKind
from recommender.policy.facts import Facts
from recommender.policy.stages import SlateRequest

CACHED_EFFECTS = 64


@dataclass(frozen=True)
class Codes:
    """What the names in rules are in `Facts`: column of a video; code of a label, creator, series."""

    video: Mapping[str, int]
    label: Mapping[str, int]
    creator: Mapping[str, int]
    series: Mapping[str, int]


@dataclass(frozen=True)
class RuleEffect:
    """What the rules of a request come to.

    blocked: (V,) bool or None for none; factor: (V,) float32 or None for 1 everywhere; pins: pairs of a place from 0
    and the (m,) int64 columns of which one is wanted there, in the order in which they are to be served.
    """

    blocked: np.ndarray | None = None
    factor: np.ndarray | None = None
    pins: tuple[tuple[int, np.ndarray], ...] = ()


class Rulebook:
    """Rules of one moment, oldest first; one that names something this release does not know has no effect."""

    def __init__(self, rules: Sequence[Rule], facts: Facts, codes: Codes) -> None:
        self._size = len(facts.creator)
        columns = [_columns(rule, facts, codes) for rule in rules]
        known = [number for number, found in enumerate(columns) if len(found) > 0]
        self._rules = [rules[number] for number in known]
        self._columns = [columns[number] for number in known]
        self._effects: dict[tuple[int, ...], RuleEffect] = {(): RuleEffect()}

    def effect(self, request: SlateRequest) -> RuleEffect:
        """The same rules hold for most requests, so that their effect is worked out once."""
        holding = tuple(number for number, rule in enumerate(self._rules) if _holds(rule, request))
        effect = self._effects.get(holding)
        if effect is None:
            if len(self._effects) >= CACHED_EFFECTS:
                self._effects = {(): RuleEffect()}
            effect = self._effects[holding] = self._effect(holding)
        return effect

    def _effect(self, holding: Sequence[int]) -> RuleEffect:
        blocked = np.zeros(self._size, bool)
        factor = np.ones(self._size, np.float32)
        pins: list[tuple[int, np.ndarray]] = []
        for number in holding:
            rule, columns = self._rules[number], self._columns[number]
            if rule.kind == RuleKind.BLOCK:
                blocked[columns] = True
            elif rule.factor is not None:
                factor[columns] *= np.float32(rule.factor)
            elif rule.position is not None:
                pins.append((rule.position - 1, columns))
        return RuleEffect(
            blocked if blocked.any() else None,
            factor if (factor != 1).any() else None,
            tuple(sorted(pins, key=lambda pin: pin[0])),
        )


def _holds(rule: Rule, request: SlateRequest) -> bool:
    if rule.from_ is not None and request.now < rule.from_:
        return False
    if rule.until is not None and request.now >= rule.until:
        return False
    if rule.surface is not None and rule.surface != request.surface:
        return False
    if rule.country is None or rule.country == request.country:
        return True
    # Who is in an unknown country may be in the one where it is blocked.
    return rule.kind == RuleKind.BLOCK and request.country is None


def _columns(rule: Rule, facts: Facts, codes: Codes) -> np.ndarray:
    """The columns that a rule is about: (m,) int64."""
    target, name = rule.target
    code = getattr(codes, target).get(name)
    if code is None:
        return np.zeros(0, np.int64)
    if target == "video":
        return np.array([code], np.int64)
    if target == "label":
        entries = np.flatnonzero(facts.labels.indices == code)
        return np.searchsorted(facts.labels.indptr, entries, side="right") - 1
    return np.flatnonzero(getattr(facts, target) == code)
