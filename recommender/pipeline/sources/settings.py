"""What can be set of each source: whether it is asked, how much it counts, how many candidates it may name."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

#: What a list is for: all that is watched in the days to come, or what is watched next.
Horizon = Literal["window", "next"]
#: By horizon: the weights of sources whose weight is not set, in a fusion of ranks and in one of scores.
WEIGHTS: dict[Horizon, dict[str, float]] = {
    "window": {"content": 0.3, "fresh": 0.5, "trending": 0.1, "transformer": 4.0},
    "next": {
        "collaborative": 0.2, "item_item": 0.0, "recent": 0.0, "session": 0.4, "walks": 0.0, "content": 0.1,
        "fresh": 0.2, "trending": 0.0, "transformer": 2.0, "graph": 0.2, "neighbours": 0.0,
    },
}  # fmt: skip

#: A source names at most so many.
MOST_CANDIDATES = 5_000


class SourceSettings(BaseModel):
    model_config = ConfigDict(extra="forbid")

    enabled: bool = Field(default=True, description="false: never asked")
    weight: float | None = Field(
        default=None, ge=0, description="how much it counts in the fusion; without one as the horizon has it"
    )
    candidates: int = Field(default=300, ge=1, le=MOST_CANDIDATES, description="its quota: how many it may name")
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
    transformer: HistorySourceSettings = _of_history(enabled=False)
    graph: HistorySourceSettings = _of_history(enabled=False)
    content: HistorySourceSettings = _of_history(half_life_items=3.0)
    fresh: HistorySourceSettings = _of_history(half_life_items=10.0, candidates=50)
    next_episode: SourceSettings = _source(candidates=20)
    continue_watching: SourceSettings = _source(candidates=20, enabled=False)
    popular: SourceSettings = _source()
    trending: SourceSettings = _source(candidates=50)

    @model_validator(mode="before")
    @classmethod
    def _keep_what_is_not_given(cls, given: Any) -> Any:
        """A source of which one thing is set keeps its own defaults for the others, not those of all sources."""
        if not isinstance(given, dict):
            return given
        own = {name: field.get_default(call_default_factory=True) for name, field in cls.model_fields.items()}
        return {
            name: {**own[name].model_dump(), **values} if name in own and isinstance(values, dict) else values
            for name, values in given.items()
        }

    def weighed(self, horizon: Horizon) -> "SourcesSettings":
        """The same with the weights that the horizon has for those that are not set."""
        filled = self.model_copy(deep=True)
        for name, source in filled:
            if source.weight is None:
                source.weight = WEIGHTS[horizon].get(name, 1.0)
        return filled
