"""What the embedder's tests share: an exported encoder, and the real clips where they are."""

from pathlib import Path

import pytest

from data.home import Home
from embedder.encoders import Encoder, EncoderSettings, load_encoder


@pytest.fixture(scope="session")
def shared_clips(shared_data: Path) -> Path:
    """The folder of real clips (with MANIFEST.csv); they are not part of the repository."""
    folder = shared_data / "video"
    if not (folder / "MANIFEST.csv").is_file():
        pytest.skip(f"the shared data folder {shared_data} holds no video/MANIFEST.csv")
    return folder


@pytest.fixture(scope="session")
def models_home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home whose encoder is exported, once for all tests (the export takes seconds)."""
    home = Home.at(tmp_path_factory.mktemp("models"))
    load_encoder(EncoderSettings(), home)
    return home


@pytest.fixture(scope="session")
def encoder(models_home: Home) -> Encoder:
    return load_encoder(EncoderSettings(), models_home)
