"""Releases: immutable folders of everything that answers are made from, and the pointer to the served one.

A release is written aside, checked, and published by replacing one line in `CURRENT`. Nothing in it is ever
changed afterwards; `rollback` points back to an older one. Every file has its SHA-256 in `manifest.json`.
"""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import scipy.sparse as sp

from data.files import CorruptFileError, replacing, sha256_of, sync_folder, verify_checksum, write_json
from recommender.collaborative import LatentFactors
from recommender.index import VectorIndex
from recommender.item_item import ItemWeights
from recommender.popularity import Popularity, PopularitySettings

FORMAT = 1
MANIFEST = "manifest.json"
CURRENT = "CURRENT"


class ReleaseError(RuntimeError):
    """There is no such release, or none at all."""


@dataclass(frozen=True)
class Release:
    """What one version of the world knows of its V videos (`videos`: their ids, by column)."""

    id: str
    manifest: dict[str, Any]
    videos: list[str]
    index: VectorIndex
    factors: LatentFactors
    item_weights: ItemWeights | None
    popularity: Popularity


# ---- The parts on disk --------------------------------------------------------------------------------------


def write_videos(folder: Path, videos: Sequence[str]) -> None:
    with replacing(folder / "videos.json") as file:
        file.write(orjson.dumps(list(videos)))


def read_videos(folder: Path) -> list[str]:
    """The ids of a release's videos, by column. Raises CorruptFileError when the file is not as it was written."""
    verify_checksum(folder / "videos.json", read_manifest(folder)["files"]["videos.json"]["sha256"])
    videos: list[str] = orjson.loads((folder / "videos.json").read_bytes())
    return videos


def write_index(folder: Path, index: VectorIndex) -> None:
    index.save(folder / "index.faiss")
    _write_arrays(folder / "index.npz", ids=index.ids)


def write_factors(folder: Path, factors: LatentFactors) -> None:
    _write_arrays(
        folder / "factors.npz",
        items=factors.items,
        regularization=np.float64(factors.regularization),
        alpha=np.float64(factors.alpha),
    )


def write_item_weights(folder: Path, item_weights: ItemWeights) -> None:
    weights = item_weights.weights
    _write_arrays(
        folder / "item_weights.npz",
        data=weights.data,
        indices=weights.indices,
        indptr=weights.indptr,
        shape=np.array(weights.shape),
    )


def write_popularity(folder: Path, popularity: Popularity, settings: PopularitySettings) -> None:
    countries = sorted(popularity.countries)
    by_country = [popularity.countries[name] for name in countries]
    stacked = np.stack(by_country) if by_country else np.zeros((0, len(popularity.world)), np.float32)
    _write_arrays(folder / "popularity.npz", world=popularity.world, by_country=stacked)
    write_json(folder / "popularity.json", {"countries": countries, "settings": settings.model_dump()})


def load_release(folder: Path) -> Release:
    """Reads a release after checking every file against its manifest. Raises CorruptFileError."""
    manifest = verify_release(folder)
    videos = orjson.loads((folder / "videos.json").read_bytes())
    factors = _read_arrays(folder / "factors.npz")
    popularity = orjson.loads((folder / "popularity.json").read_bytes())
    arrays = _read_arrays(folder / "popularity.npz")
    by_country = dict(zip(popularity["countries"], arrays["by_country"], strict=True))
    weights_path = folder / "item_weights.npz"
    return Release(
        id=manifest["id"],
        manifest=manifest,
        videos=videos,
        index=VectorIndex.load(folder / "index.faiss", _read_arrays(folder / "index.npz")["ids"]),
        factors=LatentFactors(factors["items"], float(factors["regularization"]), float(factors["alpha"])),
        item_weights=ItemWeights(_read_csr(weights_path)) if weights_path.exists() else None,
        popularity=Popularity(arrays["world"], by_country, PopularitySettings(**popularity["settings"])),
    )


def seal(folder: Path, facts: dict[str, Any]) -> None:
    """Writes the manifest of a finished release folder: `facts` and the checksum of every file."""
    files = {
        path.name: {"sha256": sha256_of(path), "bytes": path.stat().st_size}
        for path in sorted(folder.iterdir())
        if path.is_file() and path.name != MANIFEST and not path.name.startswith(".")
    }
    write_json(folder / MANIFEST, {"format": FORMAT, **facts, "files": files})


def read_manifest(folder: Path) -> dict[str, Any]:
    """Raises CorruptFileError when the folder holds no readable manifest of this format."""
    try:
        manifest: dict[str, Any] = orjson.loads((folder / MANIFEST).read_bytes())
    except (OSError, orjson.JSONDecodeError) as error:
        raise CorruptFileError(f"{folder} is not a release: {error}") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise CorruptFileError(f"{folder} has no manifest of format {FORMAT}, which this version reads")
    if not {"id", "created_at", "files"} <= set(manifest):
        raise CorruptFileError(f"{folder} has a manifest that lacks its id, its time or its files")
    return manifest


def verify_release(folder: Path) -> dict[str, Any]:
    """The manifest, after comparing every file with its checksum. Raises CorruptFileError."""
    manifest = read_manifest(folder)
    for name, expected in manifest["files"].items():
        verify_checksum(folder / name, expected["sha256"])
    return manifest


def _write_arrays(path: Path, **arrays: Any) -> None:
    with replacing(path) as file:
        np.savez(file, allow_pickle=False, **arrays)


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as stored:
        return dict(stored)


def _read_csr(path: Path) -> sp.csr_matrix:
    stored = _read_arrays(path)
    return sp.csr_matrix((stored["data"], stored["indices"], stored["indptr"]), tuple(stored["shape"]))


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
        if release_id.startswith(".") or folder.parent != self.root or not (folder / MANIFEST).is_file():
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
