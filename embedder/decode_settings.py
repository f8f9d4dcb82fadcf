"""How frames are taken from a file: the settings of `decode`. Apart from it, so that no one needs PyAV to read them."""

from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field

from embedder.media import PYAV, Decoder

#: Part of encoders' ids: count it up when frames are chosen, scaled or tone-mapped in another way.
VERSION = 2


class DecodeSettings(BaseModel):
    """How frames are taken from a file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    exact_megapixels: float = Field(
        default=500,
        ge=0,
        description="videos with at most this many megapixels in all (10 s of 1080p30: 620) are decoded exactly; "
        "longer ones give their key frames, which is about 20 times cheaper",
    )
    min_distinct: float = Field(
        default=0.75, ge=0, le=1, description="when fewer of the key frames are distinct, decode exactly instead"
    )
    max_pixels: int = Field(default=8192 * 8192, ge=1, description="pictures with more pixels are refused")


USUAL = DecodeSettings()


@dataclass(frozen=True)
class Sampling:
    """Which frames an encoder gets of each video, and how they are made: all of it moves its vectors."""

    frames: int = 16
    decoder: Decoder = PYAV
    settings: DecodeSettings = USUAL

    @property
    def id(self) -> str:
        """As it stands in encoders' ids."""
        chosen = self.settings.exact_megapixels, self.settings.min_distinct
        rules = "" if chosen == (USUAL.exact_megapixels, USUAL.min_distinct) else "-x{:g}-d{:g}".format(*chosen)
        return f"{self.decoder}-v{VERSION}{rules}/{self.frames}f"


USUAL_SAMPLING = Sampling()
