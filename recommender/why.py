"""Why a video is in a list, or is not: who finds it, which filter removes it, what ranker and policy make of it."""

from typing import Any

import numpy as np

from recommender.engine import Engine
from recommender.pipeline.stages import Candidates, Query, Source, Trace


def why(engine: Engine, query: Query, video_id: str) -> dict[str, Any]:
    """What happens to one video in a request, stage by stage, with numbers.

    `candidate_rank` and `score` are after the ranker; `rank` is the place in the slate, `rule` what put it there where
    the score did not, `kept_out_by` the stage of the policy that kept it out where its score would have sufficed.

    Raises KeyError when the catalogue of the engine does not know the video.
    """
    column = engine.column_of[video_id]
    pipeline = engine.pipeline
    # A filter that removes it must not hide who would have found it.
    eligible = pipeline.eligible(query)
    eligible[column] = True
    trace = Trace()
    candidates = pipeline.gather(query, eligible, trace)
    ranked, _ = engine.rank(query)
    place = np.flatnonzero(ranked.columns == column)
    slate = engine.select(query, ranked, trace)
    shown = np.flatnonzero(slate.columns == column)
    return {
        "video_id": video_id,
        "sources": {source.name: _said_by(engine, source, query, candidates, column) for source in pipeline.sources},
        "removed_by": pipeline.removed_by(query, column),
        "candidate_rank": int(place[0]) + 1 if len(place) else None,
        "score": float(ranked.scores[place[0]]) if len(place) else None,
        "rank": int(shown[0]) + 1 if len(shown) else None,
        "rule": slate.rules[shown[0]] if len(shown) else None,
        "kept_out_by": None if len(shown) else slate.removed.get(column),
        "warnings": trace.warnings,
    }


def _said_by(engine: Engine, source: Source, query: Query, candidates: Candidates, column: int) -> dict[str, Any]:
    if source.name not in candidates.sources:
        return {"found": False, "because": "the source was left out or has nothing to say to this viewer"}
    row = candidates.sources.index(source.name)
    place = np.flatnonzero(candidates.columns == column)
    if len(place) == 0 or candidates.ranks[row, place[0]] == 0:
        quota = getattr(engine.settings.sources, source.name).candidates
        return {"found": False, "because": f"not among its best {quota}"}
    behind = int(source.explain(query, np.array([column]))[0])
    return {
        "found": True,
        "rank": int(candidates.ranks[row, place[0]]),
        "score": float(candidates.scores[row, place[0]]),
        "weight": float(candidates.weights[row]),
        "because_of": engine.videos[int(query.profile.liked[behind])] if behind >= 0 else None,
    }
