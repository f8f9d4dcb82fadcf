"""Made-up videos for the policy: small enough that every rule bites."""

from typing import Any

import numpy as np
import scipy.sparse as sp

from data.schema import Rule
from recommender.policy import Facts, Policy, PolicySettings, Rulebook, Scored, Slate, SlateRequest
from recommender.policy.rules import Codes

VIDEOS, LABELS, DIM = 60, 6, 8
NOW = 1_700_000_000.0
DAY = 86_400.0

#: Nothing but the order of the scores.
OFF: dict[str, Any] = {
    "fatigue": {"after": None},
    "freshness": {"new_share": 0.0},
    "diversity": {"method": "none"},
}


def made_facts(seed: int = 0, videos: int = VIDEOS, **given: Any) -> Facts:
    """Random facts, but for those that are given."""
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(videos, DIM)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    has_vector = rng.random(videos) < 0.9
    made: dict[str, Any] = {
        "creator": rng.integers(-1, 8, videos).astype(np.int32),
        "series": rng.integers(-1, 10, videos).astype(np.int32),
        "labels": sp.csr_matrix(rng.random((videos, LABELS)) < 0.3),
        "published_at": np.where(rng.random(videos) < 0.2, np.nan, NOW - rng.random(videos) * 100 * DAY),
        "duplicate_group": np.where(rng.random(videos) < 0.4, rng.integers(0, 8, videos), -1).astype(np.int32),
        "vectors": lambda columns: (has_vector[columns], vectors[columns[has_vector[columns]]]),
    }
    return Facts(**made | given)


def plain_facts(videos: int = VIDEOS, **given: Any) -> Facts:
    """Videos of which nothing is known, but what is given."""
    nobody = np.full(videos, -1, np.int32)
    return made_facts(
        videos=videos,
        **{
            "creator": nobody, "series": nobody, "duplicate_group": nobody,
            "labels": sp.csr_matrix((videos, LABELS), dtype=bool), "published_at": np.full(videos, np.nan),
            "vectors": lambda columns: (np.zeros(len(columns), bool), np.zeros((0, DIM), np.float32)),
        }
        | given,
    )  # fmt: skip


def scored(columns: Any, scores: Any = None) -> Scored:
    """Candidates in this order; without scores those fall evenly from 1."""
    columns = np.array(columns, np.int64)
    if scores is None:
        scores = 1.0 - np.arange(len(columns)) / max(len(columns), 1)
    return Scored(columns, np.array(scores, np.float32), np.ones(len(columns), np.uint32))


def request(limit: int = 10, **given: Any) -> SlateRequest:
    return SlateRequest(**{"limit": limit, "now": NOW, "eligible": np.ones(VIDEOS, bool)} | given)


def policy(facts: Facts, *rules: dict[str, Any], **settings: Any) -> Policy:
    """A policy of which nothing is on but these settings; names in rules: `v3`, `l2`, `c1`, `s0`."""
    names = ((name, prefix) for name, prefix in zip(("video", "label", "creator", "series"), "vlcs", strict=True))
    codes = Codes(**{name: {f"{prefix}{code}": code for code in range(VIDEOS)} for name, prefix in names})
    rulebook = Rulebook([Rule.model_validate(rule) for rule in rules], facts, codes)
    return Policy(facts, PolicySettings.model_validate(OFF | settings), rulebook)


def shown(slate: Slate) -> list[int]:
    return slate.columns.tolist()
