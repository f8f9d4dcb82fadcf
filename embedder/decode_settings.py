"""How frames are taken from a file: the settings of `decode`. Apart from it, so that no one needs PyAV to read them."""

from pydantic import BaseModel, ConfigDict, Field


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
