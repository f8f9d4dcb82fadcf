"""Releases: immutable folders of everything that answers are made from, and the pointer to the served one.

A release is written aside, checked, and published by replacing one line in `CURRENT`. Nothing in it is ever
changed afterwards; `rollback` points back to an older one. Every file has its SHA-256 in `manifest.json`.
"""

import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import orjson

from data.files import CorruptFileError, replacing, sha256_of, sync_folder, verify_checksum, write_json
from data.store import Store
from recommender.catalogue_view import CatalogueView
from recommender.cold_start import ColdStart
from recommender.fitting import KINDS
from recommender.index import VectorIndex
from recommender.models import HistoryModel
from recommender.policy.looks import Looks
from recommender.popularity import Popularity
from recommender.ranking.ranker import Ranker
from recommender.strings import StringTable

log = logging.getLogger(__name__)

FORMAT = 6
MANIFEST = "manifest.json"
INDEX = "index.faiss"
FACTOR_INDEX = "factors.faiss"
RANKER = "ranker.json"
CURRENT = "CURRENT"
NO_ENCODER = "none"
#: Smaller arrays are read at once.
MAPPED_FROM_BYTES = 2**16
#: Videos that tell whether a stored view is of the catalogue at hand.
COMPARED = 100


class ReleaseError(RuntimeError):
    """There is no such release, or none at all."""


@dataclass(frozen=True)
class Release:
    """What one version of the world knows of its V videos (`videos`: their ids, by column).

    folder: where it is kept, None where it is not.
    models: by name, see `recommender.fitting`; viewers: (V,) int32, how many viewers liked each video; factor_index: of
    a large catalogue, with the videos that anybody met, by their columns; looks: None without embeddings.
    """

    id: str
    manifest: dict[str, Any]
    videos: StringTable
    index: VectorIndex
    popularity: Popularity
    viewers: np.ndarray
    models: Mapping[str, HistoryModel] = field(default_factory=dict)
    factor_index: VectorIndex | None = None
    looks: Looks | None = None
    cold_start: ColdStart | None = None
    ranker: Ranker | None = None
    folder: Path | None = None

    def view(self, store: Store) -> CatalogueView:
        """The catalogue as it is now, in the columns of this release: what was stored with it, and what has been
        written since; read anew where nothing was stored, or of another catalogue."""
        if self.folder is not None:
            view = CatalogueView.from_arrays(self.videos, _read_arrays(self.folder, "catalogue", to_write=True))
            if _is_of(view, store):
                view.catch_up(store)
                return view
        return CatalogueView.load(store, self.videos)


def _is_of(view: CatalogueView, store: Store) -> bool:
    """Whether a view was read from this catalogue, and not from another one with much the same videos: a few are
    compared."""
    if view.version > store.catalogue.version():
        return False
    columns = np.random.default_rng(0).permutation(np.flatnonzero(view.numbers >= 0))[:COMPARED]
    number_of = {view.videos[column]: view.numbers[column] for column in columns.tolist()}
    found = store.catalogue.get_many(list(number_of))
    return bool(found) and all(record.number == number_of[name] for name, record in found.items())


# ---- The parts on disk --------------------------------------------------------------------------------------


def write_videos(folder: Path, videos: Sequence[str]) -> None:
    _write_arrays(folder, "videos", StringTable.of(videos).arrays())


def read_videos(folder: Path) -> StringTable:
    return StringTable.from_arrays(_read_arrays(folder, "videos"))


def write_view(folder: Path, view: CatalogueView) -> None:
    _write_arrays(folder, "catalogue", view.arrays())


def write_index(folder: Path, index: VectorIndex) -> None:
    index.save(folder / INDEX)
    _write_arrays(folder, "index", {"ids": index.ids})


def read_index(folder: Path) -> VectorIndex:
    return VectorIndex.load(folder / INDEX, _read_arrays(folder, "index")["ids"])


def write_factor_index(folder: Path, index: VectorIndex) -> None:
    index.save(folder / FACTOR_INDEX)
    _write_arrays(folder, "factors", {"ids": index.ids})


def _read_factor_index(folder: Path) -> VectorIndex | None:
    path = folder / FACTOR_INDEX
    return VectorIndex.load(path, _read_arrays(folder, "factors")["ids"]) if path.exists() else None


def write_looks(folder: Path, looks: Looks) -> None:
    _write_arrays(folder, "looks", looks.arrays())


def write_model(folder: Path, name: str, model: HistoryModel) -> None:
    _write_arrays(folder, name, model.arrays())


def read_model(folder: Path, name: str) -> HistoryModel | None:
    """A model that `write_model` has written; None where there is none."""
    arrays = _read_arrays(folder, name)
    return KINDS[name].from_arrays(arrays) if arrays else None


def write_cold_start(folder: Path, cold_start: ColdStart) -> None:
    _write_arrays(folder, "cold_start", cold_start.arrays())


def write_ranker(folder: Path, ranker: Ranker) -> None:
    with replacing(folder / RANKER) as file:
        file.write(ranker.to_text().encode())


def write_popularity(folder: Path, popularity: Popularity, viewers: np.ndarray) -> None:
    _write_arrays(folder, "popularity", popularity.arrays() | {"viewers": viewers})


def load_release(folder: Path) -> Release:
    """Reads a release after checking every file against its manifest. Raises CorruptFileError."""
    return read_release(folder, verify_release(folder))


def read_release(folder: Path, manifest: dict[str, Any]) -> Release:
    """Reads the files of a release that were checked, or have just been written, as they are."""
    popularity, looks = _read_arrays(folder, "popularity"), _read_arrays(folder, "looks")
    cold_start = _read_arrays(folder, "cold_start")
    models = {name: read_model(folder, name) for name in KINDS}
    return Release(
        id=manifest["id"],
        manifest=manifest,
        videos=read_videos(folder),
        index=read_index(folder),
        factor_index=_read_factor_index(folder),
        looks=Looks.from_arrays(looks) if looks else None,
        popularity=Popularity.from_arrays(popularity),
        viewers=popularity["viewers"],
        cold_start=ColdStart.from_arrays(cold_start) if cold_start else None,
        ranker=_read_ranker(folder / RANKER) if (folder / RANKER).exists() else None,
        models={name: model for name, model in models.items() if model is not None},
        folder=folder,
    )


def checksums(folder: Path) -> dict[str, dict[str, Any]]:
    """SHA-256 and size of every file of a release that is not sealed yet, by name."""
    return {
        path.name: {"sha256": sha256_of(path), "bytes": path.stat().st_size}
        for path in sorted(folder.iterdir())
        if path.is_file() and path.name != MANIFEST and not path.name.startswith(".")
    }


def seal(folder: Path, facts: dict[str, Any], files: Mapping[str, dict[str, Any]]) -> None:
    """Writes the manifest of a finished release folder: `facts` and the checksums of its files."""
    write_json(folder / MANIFEST, {"format": FORMAT, **facts, "files": dict(files)})


def read_manifest(folder: Path) -> dict[str, Any]:
    """Raises CorruptFileError when the folder holds no readable manifest of this format."""
    try:
        manifest: dict[str, Any] = orjson.loads((folder / MANIFEST).read_bytes())
    except (OSError, orjson.JSONDecodeError) as error:
        raise CorruptFileError(f"{folder} is not a release: {error}") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise CorruptFileError(
            f"{folder} has no manifest of format {FORMAT}, which this version reads; `watchnext refresh` makes one"
        )
    if not {"id", "created_at", "files"} <= set(manifest):
        raise CorruptFileError(f"{folder} has a manifest that lacks its id, its time or its files")
    return manifest


def verify_release(folder: Path) -> dict[str, Any]:
    """The manifest, after comparing every file with its checksum. Raises CorruptFileError."""
    manifest = read_manifest(folder)
    for name, expected in manifest["files"].items():
        verify_checksum(folder / name, expected["sha256"])
    return manifest


def _read_ranker(path: Path) -> Ranker | None:
    """A ranker is a help and never a need: one that this version cannot read is left out."""
    try:
        return Ranker.from_text(path.read_text())
    except ValueError as error:
        log.warning("%s is left out: %s", path, error)
        return None


def _write_arrays(folder: Path, name: str, arrays: Mapping[str, np.ndarray]) -> None:
    """A file for each, so that they can be mapped into memory."""
    for array, values in arrays.items():
        with replacing(folder / f"{name}.{array}.npy") as file:
            np.save(file, values, allow_pickle=False)


def _read_arrays(folder: Path, name: str, to_write: bool = False) -> dict[str, np.ndarray]:
    """What `_write_arrays` has written by its name; large ones are pages of their files, which processes share.

    to_write: those that are written to are no longer the files', but the process's own.
    """
    return {
        path.name.removeprefix(f"{name}.").removesuffix(".npy"): _read_array(path, "c" if to_write else "r")
        for path in folder.glob(f"{name}.*.npy")
    }


def _read_array(path: Path, mode: Literal["r", "c"]) -> np.ndarray:
    mapped = path.stat().st_size >= MAPPED_FROM_BYTES
    return np.asarray(np.load(path, mmap_mode=mode if mapped else None, allow_pickle=False))


# ---- The shelf ----------------------------------------------------------------------------------------------


class Releases:
    """All releases below one folder, and which of them is served."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def list(self) -> list[dict[str, Any]]:
        """The manifests of all readable releases, newest first, each with `current`."""
        current = self.current_id()
        manifests = []
        for path in self.root.glob(f"*/{MANIFEST}"):
            if not path.parent.name.startswith("."):
                try:
                    manifest = read_manifest(path.parent)
                except CorruptFileError as error:
                    manifest = {"id": path.parent.name, "created_at": 0.0, "damaged": str(error)}
                manifests.append(manifest | {"current": manifest["id"] == current})
        return sorted(manifests, key=lambda manifest: (manifest["created_at"], manifest["id"]), reverse=True)

    def current_id(self) -> str | None:
        """The id that `CURRENT` names, or None."""
        try:
            return (self.root / CURRENT).read_text().strip() or None
        except FileNotFoundError:
            return None

    def folder(self, release_id: str) -> Path:
        """Raises ReleaseError when there is no such release."""
        folder = self.root / release_id
        try:
            is_there = (folder / MANIFEST).is_file()
        except OSError:  # a name that is too long for the file system
            is_there = False
        if release_id.startswith(".") or folder.parent != self.root or not is_there:
            raise ReleaseError(f"no release {release_id!r}; see `watchnext releases list`")
        return folder

    def load_current(self) -> Release:
        """Raises ReleaseError without a release, CorruptFileError when the current one is damaged."""
        release_id = self.current_id()
        if release_id is None:
            raise ReleaseError("there is no release yet; run `watchnext refresh`")
        return load_release(self.folder(release_id))

    def adopt(self, building: Path, release_id: str) -> None:
        """Moves a sealed folder onto the shelf."""
        building.rename(self.root / release_id)
        sync_folder(self.root)

    def publish(self, release_id: str) -> None:
        """Makes a release the served one, at once. Raises CorruptFileError when it is damaged."""
        verify_release(self.folder(release_id))
        with replacing(self.root / CURRENT) as file:
            file.write(f"{release_id}\n".encode())

    def rollback(self, release_id: str | None = None) -> str:
        """Publishes an older release, by default the newest one before the current; returns its id.

        Raises ReleaseError when there is none.
        """
        if release_id is None:
            manifests = [manifest for manifest in self.list() if "damaged" not in manifest]
            positions = [place for place, manifest in enumerate(manifests) if manifest["current"]]
            older = manifests[positions[0] + 1 :] if positions else manifests
            if not older:
                raise ReleaseError(
                    "there is no older release to go back to;"
                    " `watchnext releases rollback ID` serves any of `watchnext releases list`"
                )
            release_id = str(older[0]["id"])
        self.publish(release_id)
        return release_id

    def prune(self, keep: int, report: Callable[[str], None] = lambda _: None) -> None:
        """Deletes all but the newest `keep` releases; never the current one."""
        for manifest in self.list()[keep:]:
            if not manifest["current"]:
                shutil.rmtree(self.root / manifest["id"])
                report(manifest["id"])
