"""What the embedder's tests share: an exported encoder, and the real clips where they are."""

from pathlib import Path

import av
import numpy as np
import pytest

from data.demo.clips import make_clips, plan_clips
from data.home import Home
from embedder.decode import read_media
from embedder.encoders import Encoder, EncoderSettings, load_encoder
from embedder.media import Wanted
from tests.conftest import shared_folder
from tests.embedder.strangers import Known, vector_of, written


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


@pytest.fixture(scope="session")
def known(encoder: Encoder, tmp_path_factory: pytest.TempPathFactory) -> Known:
    """The film that strange files are made of: a real one where there are any, else one of the demonstration's."""
    folder = tmp_path_factory.mktemp("film")
    recordings = sorted((shared_folder() / "video" / "dev" / "ut_hug").glob("*"))
    slack = 0.0 if recordings else 0.05
    if not recordings:
        make_clips(plan_clips(2, seed=1), folder / "drawn")
        recordings = sorted((folder / "drawn").iterdir())
    with av.open(str(recordings[1])) as container:
        film = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])[::2]
    path = written(folder / "film.mp4", film, options={"crf": "5"})
    return Known(film, path, vector_of(encoder, read_media(path, Wanted(frames=16))), slack)
