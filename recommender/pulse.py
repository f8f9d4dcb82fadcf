"""What has changed since a release was made: popularity, audiences and transitions, a few seconds behind the events.

A pulse is small, because it is the change alone: who wants to serve it adds it to the release's own arrays
(`with_popularity`, `with_transitions`). On disk each release has a folder of its own with one immutable file and a
manifest that names it with its checksum and is replaced at once. How a pulse is worked out is for `recommender.stream`.
Knows nothing of engines.
"""

import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import scipy.sparse as sp
from pydantic import BaseModel

from data.files import CorruptFileError, replacing, sha256_of, verify_checksum, write_json
from recommender.item_item import ItemWeights
from recommender.popularity import Popularity, PopularitySettings
from recommender.release import Release, Releases
from recommender.sequential import GrownTransitions, TransitionSettings

FORMAT = 1
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Pulse:
    """What events up to number `until_seq` changed of a release, about n videos (`videos`: their ids).

    popularity: the change of its sums, which are decayed to the moment `at`, by places in `videos`; viewers: (n,)
    int32, the change of the number of viewers who liked each; counts: (n, n) float32, that of `count_following`.
    taken_at: when it was last looked whether there is more; file: where it is kept, "" for nowhere.
    """

    release: str
    until_seq: int
    at: float
    videos: list[str]
    popularity: Popularity
    viewers: np.ndarray
    counts: sp.csr_matrix
    taken_at: float = 0.0
    file: str = ""

    @classmethod
    def nothing(cls, release: str, until_seq: int, at: float) -> "Pulse":
        """What there is when a release was just made."""
        counts = sp.csr_matrix(np.zeros((0, 0), np.float32))
        return cls(release, until_seq, at, [], Popularity.nothing(), np.zeros(0, np.int32), counts)

    # ---- Serving it ----------------------------------------------------------------------------------------

    def with_popularity(self, release: Release, column_of: Mapping[str, int]) -> Popularity:
        """The popularity of all videos of `column_of`, those of the release first, as it is now."""
        settings = popularity_settings(release.manifest)
        then = release.popularity.aged(self.at - (release.manifest["newest_event_at"] or 0.0), settings)
        return then.plus(self.popularity, self._columns(column_of), len(column_of)).not_below_zero()

    def with_transitions(self, release: Release, fitted: ItemWeights, column_of: Mapping[str, int]) -> ItemWeights:
        """The same of what is watched next."""
        columns, size = self._columns(column_of), len(column_of)
        viewers = np.zeros(size, np.int32)
        viewers[columns[columns >= 0]] = self.viewers[columns >= 0]
        counts = moved(self.counts, columns, size)
        return GrownTransitions(fitted, release.viewers, counts, viewers, transition_settings(release.manifest))

    def _columns(self, column_of: Mapping[str, int]) -> np.ndarray:
        return np.fromiter((column_of.get(name, -1) for name in self.videos), np.int64, len(self.videos))


def moved(counts: sp.csr_matrix, columns: np.ndarray, size: int) -> sp.csr_matrix:
    """Counts (n, n) in other columns (n,), -1 for those that have none: (size, size)."""
    cells = counts.tocoo()
    row, column = columns[cells.row], columns[cells.col]
    known = (row >= 0) & (column >= 0)
    return sp.csr_matrix((cells.data[known], (row[known], column[known])), (size, size))


def popularity_settings(manifest: Mapping[str, Any]) -> PopularitySettings:
    """Those that the release was made with: sums of two half-lives cannot be added."""
    return PopularitySettings.model_validate(_known(PopularitySettings, manifest["settings"]["popularity"]))


def transition_settings(manifest: Mapping[str, Any]) -> TransitionSettings:
    return TransitionSettings.model_validate(_known(TransitionSettings, manifest["settings"]["sequential"]))


def _known(kind: type[BaseModel], stored: Mapping[str, Any]) -> dict[str, Any]:
    """Without settings that another version had."""
    return {name: value for name, value in stored.items() if name in kind.model_fields}


# ---- On disk ------------------------------------------------------------------------------------------------


class Pulses:
    """The newest pulse of each release, below one folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def read(self, release_id: str, known: Pulse | None = None) -> Pulse | None:
        """The newest pulse of a release, None without one; `known` itself where that is still the newest.

        Raises CorruptFileError when it is damaged.
        """
        folder = self.root / release_id
        manifest = _read_manifest(folder)
        if manifest is None or manifest["release"] != release_id:
            return None
        if known is not None and (known.release, known.file) == (release_id, manifest["file"]):
            return known
        path = folder / manifest["file"]
        verify_checksum(path, manifest["sha256"])
        with np.load(path, allow_pickle=False) as stored:
            arrays = dict(stored)
        size = len(arrays["viewers"])
        return Pulse(
            release=release_id,
            until_seq=manifest["until_seq"],
            at=float(arrays["at"]),
            videos=orjson.loads(arrays["videos"].tobytes()),
            popularity=Popularity.from_arrays(arrays),
            viewers=arrays["viewers"],
            counts=sp.csr_matrix((arrays["cells"], (arrays["rows"], arrays["cols"])), (size, size)),
            taken_at=manifest["taken_at"],
            file=manifest["file"],
        )

    def write(self, pulse: Pulse) -> Pulse:
        """Publishes a pulse in the place of the one before; returns it as it is kept. Only one may write at a time."""
        folder = self.root / pulse.release
        folder.mkdir(parents=True, exist_ok=True)
        self._sweep_files(folder)
        name = f"{pulse.until_seq}-{secrets.token_hex(4)}.npz"
        cells = pulse.counts.tocoo()
        arrays: dict[str, Any] = {
            "at": np.array(pulse.at),
            "videos": np.frombuffer(orjson.dumps(pulse.videos), np.uint8),
            "viewers": pulse.viewers,
            "cells": cells.data,
            "rows": cells.row.astype(np.int32),
            "cols": cells.col.astype(np.int32),
            **pulse.popularity.arrays(),
        }
        with replacing(folder / name) as file:
            np.savez(file, allow_pickle=False, **arrays)
        kept = replace(pulse, file=name)
        self.note(kept)
        return kept

    def note(self, pulse: Pulse) -> None:
        """Publishes that events up to another number have been looked at, which changed nothing."""
        if not pulse.file:
            self.write(pulse)
            return
        folder = self.root / pulse.release
        facts = {"release": pulse.release, "until_seq": pulse.until_seq, "taken_at": pulse.taken_at}
        stored = {"file": pulse.file, "sha256": sha256_of(folder / pulse.file)}
        write_json(folder / MANIFEST, {"format": FORMAT, **facts, **stored})

    def sweep(self, releases: Releases) -> None:
        """Deletes the pulses of releases that are gone."""
        for folder in self.root.glob("[!.]*"):
            if folder.is_dir() and not (releases.root / folder.name).is_dir():
                shutil.rmtree(folder, ignore_errors=True)

    def _sweep_files(self, folder: Path) -> None:
        """Deletes all but the published file, which somebody may be about to read: what is older, or half-written."""
        try:
            manifest = _read_manifest(folder)
        except CorruptFileError:
            manifest = None
        named = {MANIFEST, manifest["file"] if manifest else None}
        for path in folder.iterdir():
            if path.name not in named:
                path.unlink(missing_ok=True)


def _read_manifest(folder: Path) -> dict[str, Any] | None:
    try:
        manifest = orjson.loads((folder / MANIFEST).read_bytes())
        if manifest["format"] != FORMAT:
            return None
        file = Path(manifest["file"]).name
        return {
            "release": str(manifest["release"]),
            "until_seq": int(manifest["until_seq"]),
            "taken_at": float(manifest["taken_at"]),
            "file": file,
            "sha256": str(manifest["sha256"]),
        }
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise CorruptFileError(f"{folder / MANIFEST} is damaged: {error!r}") from error
