"""The settings of all stages in one model, and which of them stages 4 to 7 put at work."""

from pydantic import BaseModel, ConfigDict, Field

from recommender.policy.calibration import CalibrationSettings, calibration
from recommender.policy.caps import Cap, CapsSettings
from recommender.policy.diversity import DiversitySettings, diversity
from recommender.policy.duplicates import duplicates
from recommender.policy.exploration import ExplorationSettings
from recommender.policy.facts import Members
from recommender.policy.fatigue import FatigueSettings, fatigue
from recommender.policy.freshness import FreshnessSettings
from recommender.policy.shortlist import Shortlist
from recommender.policy.stages import Constraint, Preference, SlateRequest


class PolicySettings(BaseModel):
    """Without settings: a mild diversity, a tenth of the places for new videos, fatigue after five showings in vain."""

    model_config = ConfigDict(extra="forbid")

    fatigue: FatigueSettings = Field(default_factory=FatigueSettings)
    freshness: FreshnessSettings = Field(default_factory=FreshnessSettings)
    diversity: DiversitySettings = Field(default_factory=DiversitySettings)
    calibration: CalibrationSettings = Field(default_factory=CalibrationSettings)
    caps: CapsSettings = Field(default_factory=CapsSettings)
    exploration: ExplorationSettings = Field(default_factory=ExplorationSettings)


def preferences_of(settings: PolicySettings, request: SlateRequest, shortlist: Shortlist) -> list[Preference]:
    """The preferences among the rows that are weighed up."""
    if settings.diversity.strength == 0 and settings.calibration.strength == 0:
        return []
    weighed = shortlist.weighed(settings.diversity.pool)
    columns, labels = shortlist.columns[:weighed], shortlist.labels_of_first(weighed)
    found = (
        diversity(shortlist.facts, columns, labels, request.limit, settings.diversity),
        calibration(request.taste, labels, settings.calibration),
    )
    return [each for each in found if each is not None]


def constraints_of(settings: PolicySettings, request: SlateRequest, shortlist: Shortlist) -> list[Constraint]:
    """The constraints on all rows, in the order in which they are given up."""
    caps, facts, columns = settings.caps, shortlist.facts, shortlist.columns
    found: tuple[Constraint | None, ...] = (
        Cap("label", shortlist.labels, caps.label) if caps.label.limits else None,
        Cap("creator", Members.of_single(facts.creator[columns]), caps.creator) if caps.creator.limits else None,
        Cap("series", Members.of_single(facts.series[columns]), caps.series) if caps.series.limits else None,
        fatigue(request, columns, settings.fatigue),
        duplicates(facts, columns, request.watched),
    )
    return [each for each in found if each is not None]
