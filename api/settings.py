"""All settings in one place: `watchnext.toml`, then `WATCHNEXT_*` variables, which win.

Each part's settings stand beside the part; here they are only put together. A key that nobody knows is an error
at start, with the names that would be right.
"""

import difflib
import os
import tomllib
from pathlib import Path
from typing import Any

import pydantic_settings
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from api.exposures import ExposureSettings
from api.gauges import GaugeSettings
from data.home import Home
from data.schema import first_error
from embedder.batch import EmbedSettings
from embedder.labels import LabelSettings
from recommender.settings import RecommenderSettings

PREFIX = "WATCHNEXT_"
CONFIG_VARIABLE = "WATCHNEXT_CONFIG"
DEFAULT_CONFIG = Path("watchnext.toml")


class SettingsError(ValueError):
    """A setting is unknown or has a wrong value; the message says which and what would be right."""


class ServerSettings(BaseModel):
    model_config = ConfigDict(extra="forbid")

    host: str = Field(default="127.0.0.1", description="address to bind to; beyond loopback only with an API key")
    port: int = Field(default=8080, ge=0, le=65_535, description="0: any free one")
    workers: int = Field(default=2, ge=1, le=64, description="server processes")
    pinned: bool = Field(
        default=True, description="each process keeps to one processor, where there are as many as processes (Linux)"
    )
    threads: int = Field(default=4, ge=1, le=64, description="requests that one process works on at a time")
    waiting: int = Field(
        default=60, ge=0, le=1_000, description="further requests that wait for their turn; more are refused with 429"
    )
    wait_ms: float = Field(default=500.0, gt=0, description="how long they wait at most")
    release_check_s: float = Field(default=0.5, gt=0, description="how often a process looks for a new release")
    release_wait_s: float = Field(
        default=0.1, ge=0, description="how long a request waits at most for a new release that is being opened"
    )
    deadline_ms: float = Field(
        default=1_000.0, gt=0, description="time for a list; a request may ask for less with X-Deadline-Ms"
    )
    max_body_bytes: int = Field(default=2_000_000, ge=1_000, description="larger requests are refused")
    max_media_bytes: int = Field(default=2**32, ge=1_000, description="larger uploads of media are refused")


class CacheSettings(BaseModel):
    model_config = ConfigDict(extra="forbid")

    enabled: bool = Field(default=True, description="false: every list is computed")
    ttl_s: float = Field(default=300.0, gt=0, description="how long scored candidates are served as they are")
    stale_s: float = Field(
        default=600.0, ge=0, description="how much longer they are served while new ones are made beside the request"
    )
    history_ttl_s: float = Field(
        default=3_600.0, ge=0, description="how long a viewer's history is kept; 0: not at all"
    )
    jitter: float = Field(default=0.2, ge=0, lt=1, description="share by which each TTL is shortened at random")
    timeout_ms: float = Field(default=50.0, gt=0, description="a cache that does not answer within this is away")
    slow_ms: float = Field(
        default=15.0, gt=0, description="a cache that takes longer than this five times in a row is away"
    )
    retry_after_s: float = Field(default=1.0, gt=0, description="how often it is looked whether a cache is well again")
    max_memory_mb: int = Field(default=256, ge=8, description="bound of the embedded server")
    process_mb: float = Field(
        default=64.0, ge=0, description="memory of each server process for answers that are ready; 0: none"
    )
    shared_answers: bool = Field(
        default=True, description="the last answer to each viewer is kept in Redis, too, for all processes"
    )


class SearchSettings(BaseModel):
    model_config = ConfigDict(extra="forbid")

    max_upload_bytes: int = Field(default=20_000_000, ge=1_000, description="larger pictures and clips are refused")
    encode_s: float = Field(
        default=60.0, gt=0, description="how long a request waits at most for what it looks for to be encoded"
    )


class WorkerSettings(BaseModel):
    model_config = ConfigDict(extra="forbid")

    encode_every_s: float = Field(default=5.0, gt=0, description="how often a worker looks for videos to encode")
    refresh_every_s: float = Field(
        default=3600.0,
        ge=0,
        description="age of the last refresh at which the next begins, if anything is new; 0: never",
    )
    stream_every_s: float = Field(
        default=15.0, gt=0, description="how often events are added to what is trending and to what follows what"
    )
    keep_releases: int = Field(default=5, ge=1, description="newest releases that are kept after a worker's refresh")


class Settings(BaseSettings):
    """`home`, the two outside services, and one section for each part."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_nested_delimiter="__", extra="forbid")

    home: Path = Field(default=Path("var"), description="folder for everything that is kept on disk")
    database_url: str | None = Field(default=None, description="SQLAlchemy URL; none: SQLite in the home folder")
    redis_url: str | None = Field(default=None, description="redis://, rediss:// or unix://; none: the embedded server")
    server: ServerSettings = Field(default_factory=ServerSettings)
    cache: CacheSettings = Field(default_factory=CacheSettings)
    exposures: ExposureSettings = Field(default_factory=ExposureSettings)
    gauges: GaugeSettings = Field(default_factory=GaugeSettings)
    search: SearchSettings = Field(default_factory=SearchSettings)
    embed: EmbedSettings = Field(default_factory=EmbedSettings)
    labels: LabelSettings = Field(default_factory=LabelSettings)
    worker: WorkerSettings = Field(default_factory=WorkerSettings)
    recommender: RecommenderSettings = Field(default_factory=RecommenderSettings)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        path = _config_path()
        toml = (TomlConfigSettingsSource(settings_cls, path),) if path else ()
        return (init_settings, env_settings, *toml)

    def open_home(self) -> Home:
        return Home.at(self.home)

    def database(self, home: Home) -> str:
        return self.database_url or home.database_url


def load_settings(**given: Any) -> Settings:
    """The settings of this process; `given` values win over variables and file. Raises SettingsError."""
    try:
        _refuse_unknown_variables()
        given = {name: value for name, value in given.items() if value is not None}
        settings = Settings(**given)
    except ValidationError as error:
        raise SettingsError(_explain(error)) from error
    except pydantic_settings.SettingsError as error:
        raise SettingsError(f"{error}: lists and tables in variables are written as JSON") from error
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{_config_path()}: {error}") from error
    if settings.redis_url is None and "REDIS_URL" in os.environ:
        settings.redis_url = os.environ["REDIS_URL"]
    return settings


def setting_names(model: type[BaseModel] = Settings, prefix: str = "") -> list[str]:
    """Every setting as it stands in the file, with dots: `server.port`."""
    names: list[str] = []
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            names += setting_names(kind, f"{prefix}{name}.")
        else:
            names.append(prefix + name)
    return names


def _config_path() -> Path | None:
    named = os.environ.get(CONFIG_VARIABLE)
    if named:
        if not Path(named).is_file():
            raise SettingsError(f"{CONFIG_VARIABLE} names {named}, which is no file")
        return Path(named)
    return DEFAULT_CONFIG if DEFAULT_CONFIG.is_file() else None


def _refuse_unknown_variables() -> None:
    known = {PREFIX + name.replace(".", "__").upper() for name in setting_names()} | {CONFIG_VARIABLE}
    for name in os.environ:
        if name.upper().startswith(PREFIX) and name.upper() not in known:
            near = difflib.get_close_matches(name.upper(), known, 1)
            raise SettingsError(f"{name} is no setting" + (f"; did you mean {near[0]}?" if near else ""))


def _explain(error: ValidationError) -> str:
    field, message = first_error(error)
    if error.errors()[0]["type"] == "extra_forbidden":
        near = difflib.get_close_matches(field, setting_names(), 1)
        return f"{field} is no setting" + (f"; did you mean {near[0]}?" if near else "")
    return f"{field}: {message}"
