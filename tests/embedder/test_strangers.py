"""Files from strangers: docs/files.md tells what becomes of each kind, and here is each kind."""

import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from data.home import Home
from data.importers import import_folder
from data.store import Store
from embedder.encoders import Encoder
from embedder.isolation import DecodePool
from embedder.media import MediaError, Quality, Reason, Wanted
from tests.embedder.strangers import KINDS, ROWS, Known, vector_of, written

TIME_LIMIT_S = 20.0
LINK = "link out of the folder"


@pytest.fixture(scope="module")
def pool() -> Iterator[DecodePool]:
    with DecodePool(1, TIME_LIMIT_S) as pool:
        yield pool


def workers() -> list[psutil.Process]:
    children = psutil.Process().children(recursive=True)
    return [child for child in children if "embedder.decode_worker" in child.cmdline()]


def test_the_table_tells_of_every_kind() -> None:
    assert set(ROWS) == set(KINDS)
    assert {outcome for outcome, _ in ROWS.values()} <= {*Quality, *Reason, "link_out_of_folder"}


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != LINK])
def test_a_strange_file_gives_the_right_embedding_or_its_reason(
    kind: str, known: Known, pool: DecodePool, encoder: Encoder, tmp_path: Path
) -> None:
    path = KINDS[kind](known.film, tmp_path)
    pool.read(known.path, Wanted(frames=1))
    (worker,) = workers()
    outcome, cosine = ROWS[kind]
    started = time.monotonic()
    try:
        sample = pool.read(path, Wanted(frames=16))
    except MediaError as error:
        assert (error.reason, error.detail != "") == (outcome, True), str(error)
    else:
        assert sample.quality == outcome
        assert sample.frames is not None and sample.frames.shape[0] == 16 and min(sample.frames.shape[1:3]) == 256
        assert sample.decoded >= 12 or sample.quality != Quality.GOOD
        assert cosine is None or vector_of(encoder, sample) @ known.vector >= cosine - known.slack
    assert time.monotonic() - started < TIME_LIMIT_S
    assert workers() == [worker], "the worker lives on"
    assert worker.memory_info().rss < 800 * 2**20
    assert pool.read(known.path, Wanted(frames=2)).quality == Quality.GOOD


def test_a_link_out_of_the_folder_is_refused_and_told(known: Known, store: Store, home: Home, tmp_path: Path) -> None:
    folder = tmp_path / "clips"
    folder.mkdir()
    outside = KINDS[LINK](known.film, tmp_path)
    (folder / "link.mp4").symlink_to(outside)
    written(folder / "own.mp4", known.film[:8])
    report = import_folder(store, folder, home.reports)
    assert (report.kept, dict(report.rejected)) == (1, {ROWS[LINK][0]: 1})
