"""What can be set of each source: whether it is asked, how much its ranks count, how many candidates it may name."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class SourceSettings(BaseModel):
    model_config = ConfigDict(extra="forbid")

    enabled: bool = Field(default=True, description="false: never asked")
    weight: float = Field(default=1.0, ge=0, description="how much its ranks count in the fusion")
    candidates: int = Field(default=300, ge=1, le=5_000, description="its quota: how many it may name")
    deadline_ms: float = Field(default=50.0, gt=0, description="a source that is slower again and again is rested")


class HistorySourceSettings(SourceSettings):
    half_life_items: float = Field(
        default=0.0, ge=0, description="a like counts half as much this many likes later; 0: all count alike"
    )


def _source(**fields: Any) -> Any:
    return Field(default_factory=lambda: SourceSettings(**fields))


def _of_history(**fields: Any) -> Any:
    return Field(default_factory=lambda: HistorySourceSettings(**fields))


class SourcesSettings(BaseModel):
    model_config = ConfigDict(extra="forbid")

    collaborative: HistorySourceSettings = _of_history()
    item_item: HistorySourceSettings = _of_history()
    recent: HistorySourceSettings = _of_history(half_life_items=30.0)
    session: HistorySourceSettings = _of_history(half_life_items=3.0)
    walks: HistorySourceSettings = _of_history()
    neighbours: HistorySourceSettings = _of_history(enabled=False)
    sequential: HistorySourceSettings = _of_history(half_life_items=3.0)
    transformer: HistorySourceSettings = _of_history(weight=4.0, enabled=False)
    graph: HistorySourceSettings = _of_history(enabled=False)
    content: HistorySourceSettings = _of_history(half_life_items=3.0, weight=0.3)
    fresh: HistorySourceSettings = _of_history(half_life_items=10.0, weight=0.5, candidates=50)
    next_episode: SourceSettings = _source(candidates=20)
    continue_watching: SourceSettings = _source(candidates=20, enabled=False)
    popular: SourceSettings = _source()
    trending: SourceSettings = _source(weight=0.1, candidates=50)
