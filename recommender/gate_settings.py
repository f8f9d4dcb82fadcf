"""Bounds that a release must keep to be published: the settings of `recommender.gates`."""

from pydantic import BaseModel, ConfigDict, Field


class GateSettings(BaseModel):
    model_config = ConfigDict(extra="forbid")

    recall: float = Field(
        default=0.98, ge=0, le=1, description="least share of exact neighbours that an index finds, on a sample"
    )
    embedded: float = Field(default=0.9, ge=0, le=1, description="least share of the encoded videos that have a vector")
    least_size: float = Field(
        default=0.9, ge=0, description="least videos, vectors, viewers and interactions, as a share of the running ones"
    )
    ndcg_loss: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="share of the running release's NDCG@10 that may be lost beyond what chance explains",
    )
    confidence: float = Field(
        default=0.999, gt=0.5, lt=1, description="of the interval that tells chance from loss: one false alarm in 2,000"
    )
    least_coverage: float = Field(
        default=0.5, ge=0, description="least share of the catalogue in lists, as a share of the running one"
    )
    held_back: float = Field(
        default=0.05, ge=0, le=0.5, description="share of viewers that is held back from learning, to compare releases"
    )
    most_held_back: int = Field(default=2_000, ge=0, description="of more viewers a smaller share is held back")
    judged: int = Field(default=1_000, ge=1, description="most held-back viewers that are asked for")
    fewest_judged: int = Field(
        default=30, ge=2, description="of fewer held-back viewers nothing is concluded; where there were less, none are"
    )
    window_share: float = Field(
        default=0.1, gt=0, le=0.5, description="share of what held-back viewers did that lists are compared with"
    )

    def share_held_back(self, viewers: int) -> float:
        """Of so many viewers: none where too few would be left to conclude anything from."""
        share = min(self.held_back, self.most_held_back / max(viewers, 1))
        return share if share * viewers >= self.fewest_judged else 0.0
