"""The settings of all parts of the recommender in one model, as `watchnext.toml` has them under [recommender]."""

from pydantic import BaseModel, ConfigDict, Field

from recommender.collaborative import CollaborativeSettings
from recommender.content_map import ContentMapSettings
from recommender.gate_settings import GateSettings
from recommender.graph import GraphSettings
from recommender.index import IndexSettings
from recommender.item_item import ItemItemSettings
from recommender.neighbours import NeighbourSettings
from recommender.novelty import NoveltySettings
from recommender.pipeline import PipelineSettings
from recommender.pipeline.sources.settings import Horizon, SourcesSettings
from recommender.policy import PolicySettings
from recommender.popularity import PopularitySettings
from recommender.profile import ProfileSettings
from recommender.ranking.ranker import RankerSettings
from recommender.sequential import TransitionSettings
from recommender.transformer import TransformerSettings
from recommender.walks import WalkSettings

NEVER = float("inf")


class RecommenderSettings(BaseModel):
    model_config = ConfigDict(extra="forbid")

    horizon: Horizon = Field(
        default="window", description="what lists are for: all that is watched in the days to come, or what is next"
    )
    memory_mb: float | None = Field(
        default=None, gt=0, description="most that a refresh may take, or it does not begin; none: what is free"
    )
    index: IndexSettings = Field(default_factory=IndexSettings)
    collaborative: CollaborativeSettings = Field(default_factory=CollaborativeSettings)
    item_item: ItemItemSettings = Field(default_factory=ItemItemSettings)
    walks: WalkSettings = Field(default_factory=WalkSettings)
    sequential: TransitionSettings = Field(default_factory=TransitionSettings)
    popularity: PopularitySettings = Field(default_factory=PopularitySettings)
    profile: ProfileSettings = Field(default_factory=ProfileSettings)
    novelty: NoveltySettings = Field(default_factory=NoveltySettings)
    sources: SourcesSettings = Field(default_factory=SourcesSettings)
    neighbours: NeighbourSettings = Field(default_factory=NeighbourSettings)
    transformer: TransformerSettings = Field(default_factory=TransformerSettings)
    graph: GraphSettings = Field(default_factory=GraphSettings)
    cold_start: ContentMapSettings = Field(default_factory=ContentMapSettings)
    ranker: RankerSettings = Field(default_factory=RankerSettings)
    gates: GateSettings = Field(default_factory=GateSettings)
    policy: PolicySettings = Field(default_factory=PolicySettings)
    pipeline: PipelineSettings = Field(default_factory=PipelineSettings)

    def unhurried(self) -> "RecommenderSettings":
        """The same without deadlines: how busy a machine is must not decide what is learned or measured on it."""
        settings = self.model_copy(deep=True)
        settings.pipeline.deadline_ms = NEVER
        for _, source in settings.sources:
            source.deadline_ms = NEVER
        return settings
