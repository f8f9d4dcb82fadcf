"""The home folder: where everything that WatchNext keeps on disk lives.

Knows names of files and folders only, not what is in them.
"""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Home:
    """Paths below one home folder (`--home`, `WATCHNEXT_HOME`, default `./var`)."""

    root: Path

    @classmethod
    def at(cls, root: Path | str) -> "Home":
        """The home at `root` (created where it is missing)."""
        home = cls(Path(root).expanduser().resolve())
        home.root.mkdir(parents=True, exist_ok=True)
        return home

    @property
    def database_url(self) -> str:
        return f"sqlite:///{self.root / 'watchnext.db'}"

    @property
    def media(self) -> Path:
        return self.root / "media"

    @property
    def uploads(self) -> Path:
        """Media files that came over HTTP."""
        return self.root / "media" / "uploads"

    @property
    def thumbnails(self) -> Path:
        return self.root / "media" / "thumbnails"

    @property
    def embeddings(self) -> Path:
        return self.root / "embeddings"

    @property
    def models(self) -> Path:
        """Files derived from shipped or trained weights: exported encoders, label heads."""
        return self.root / "models"

    @property
    def releases(self) -> Path:
        return self.root / "releases"

    @property
    def digest(self) -> Path:
        """What refreshes have read of the event log."""
        return self.root / "digest.npz"

    @property
    def live(self) -> Path:
        """What has come since each release."""
        return self.root / "live"

    @property
    def jobs(self) -> Path:
        """What was started over HTTP and takes long."""
        return self.root / "jobs"

    @property
    def redis(self) -> Path:
        return self.root / "redis"

    @property
    def reports(self) -> Path:
        return self.root / "reports"

    @property
    def logs(self) -> Path:
        return self.root / "logs"
