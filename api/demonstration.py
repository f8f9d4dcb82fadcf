"""The demonstration: the whole main job on a small made world, from video files to a list asked for over HTTP.

Clips are really encoded and decoded, events really imported, the list really served. What is measured is measured
on what was held back: label accuracy on clips without a label in the catalogue, NDCG on the last days of events.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import orjson
import pandas as pd

from api.leash import LEASHED_VARIABLE
from api.settings import Settings
from data.demo import World, make_world
from data.embeddings import EmbeddingTable
from data.files import sha256_of, write_json
from data.home import Home
from data.importers import import_events
from data.signals import signals, type_codes
from data.store import Store
from embedder.batch import embed
from embedder.encoders import load_encoder
from embedder.labels import apply_labels, train_labels
from recommender.engine import Engine
from recommender.evaluate.served import evaluate_served
from recommender.refresh import refresh
from recommender.release import Releases, read_manifest

START_LIMIT_S = 60.0


@dataclass(frozen=True)
class Scale:
    clips: int = 200
    viewers: int = 500
    seed: int = 7


def prepare(settings: Settings, scale: Scale, say: Callable[[str], None]) -> dict[str, Any]:
    """Makes the world, encodes it, learns from it and publishes a release; returns what was measured.

    A second call on the same home finds everything there and returns the figures of the first.
    """
    home = settings.open_home()
    report_path = home.reports / f"demo-{scale.clips}-{scale.viewers}-{scale.seed}.json"
    with _store(settings, home) as store:
        world = make_world(home.media / "demo", scale.clips, scale.viewers, scale.seed, end=_end_of_world(home))
        if report_path.exists():
            say("made before; the figures are those of the first run")
        else:
            store.catalogue.upsert(
                video.model_copy(update={"content_hash": sha256_of(Path(video.media_path or ""))})
                for video in world.videos
            )
            _import(store, home, world.events[world.events["occurred_at"] < world.cut])
            measured = {"events": len(world.events), "viewers": scale.viewers}
            measured |= _encode_and_label(settings, home, store, world)
            refresh(store, home, settings.recommender)
            measured |= _measure(settings, home, store, world)
            write_json(report_path, measured)
        # What was held back for the measurement belongs to what is served.
        _import(store, home, world.events)
        if _newest_event_served(home) < store.events.last_seq():
            refresh(store, home, settings.recommender)
    found: dict[str, Any] = orjson.loads(report_path.read_bytes())
    return found


def describe(measured: dict[str, Any]) -> list[str]:
    """The figures as lines for people."""
    labels, served = measured["labels"], measured["served"]
    low, high = served["ndcg@10_95"]
    return [
        f"videos encoded     {measured['encoded']} in {measured['encode_s']:.1f} s"
        f" ({measured['videos_per_s']:.1f} videos/s), {measured['failed']} failed",
        f"label accuracy     {labels['accuracy']:.3f} on {labels['clips']} held-back clips of {labels['labels']} genres"
        f" (always the commonest genre: {labels['commonest']:.3f})",
        f"served list        NDCG@10 {served['ndcg@10']:.4f} [{low:.4f}, {high:.4f}] on the held-back events of"
        f" {served['viewers']} viewers",
        f"popular alone      NDCG@10 {measured['popular']['ndcg@10']:.4f}, so the served list is"
        f" {served['ndcg@10'] / max(measured['popular']['ndcg@10'], 1e-9):.1f} times as good",
    ]


@contextmanager
def running_server(
    home: Home, port: int, ready_within_s: float = START_LIMIT_S
) -> Iterator[tuple[str, "subprocess.Popen[bytes]"]]:
    """`watchnext serve` as a process of its own, ready to answer; stopped at the end."""
    command = [sys.executable, "-m", "api.cli", "--home", str(home.root), "serve", "--port", str(port)]
    address = f"http://127.0.0.1:{port}"
    home.logs.mkdir(parents=True, exist_ok=True)
    with (home.logs / "demo-server.log").open("wb") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, env=os.environ | {LEASHED_VARIABLE: "1"}
        )
        try:
            _wait_until_ready(address, process, home.logs / "demo-server.log", ready_within_s)
            yield address, process
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def ask(address: str, user_id: str) -> dict[str, Any]:
    """A viewer's list as a front end gets it."""
    answer = httpx.get(f"{address}/v1/users/{user_id}/recommendations", params={"limit": 10}, timeout=10)
    answer.raise_for_status()
    found: dict[str, Any] = answer.json()
    return found


def busiest_viewer(settings: Settings) -> str:
    with _store(settings, settings.open_home()) as store:
        return store.events.viewers(1)[0][0]


# ---- Steps --------------------------------------------------------------------------------------------------


@contextmanager
def _store(settings: Settings, home: Home) -> Iterator[Store]:
    store = Store.open(settings.database(home))
    try:
        yield store
    finally:
        store.close()


def _end_of_world(home: Home) -> float:
    """The last moment of the made world: when it was first made, so that a run that was killed makes the same one."""
    path = home.root / "demo" / "world.json"
    if not path.exists():
        write_json(path, {"end": round(time.time())})
    return float(orjson.loads(path.read_bytes())["end"])


def _newest_event_served(home: Home) -> int:
    releases = Releases(home.releases)
    current = releases.current_id()
    return -1 if current is None else int(read_manifest(releases.folder(current))["until_seq"])


def _import(store: Store, home: Home, events: pd.DataFrame) -> None:
    path = home.root / "demo" / "events.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    events.to_parquet(path, index=False)
    report = import_events(store, path, home.reports)
    if report.rejected:
        raise RuntimeError(f"the demo's own events were rejected: {report.summary()}")


def _encode_and_label(settings: Settings, home: Home, store: Store, world: World) -> dict[str, Any]:
    encoded = embed(store, home, settings.embed)
    encoder = load_encoder(settings.embed.encoder, home, settings.embed.decode)
    table = EmbeddingTable.create(home.embeddings, encoder.id, encoder.dim)
    # A genre of a smaller world has fewer clips than a real catalogue would ask for.
    choices = settings.labels.model_copy(update={"min_examples": 2})
    head = train_labels(store, table, home, choices).head
    apply_labels(store, table, head, choices)
    held_back = store.catalogue.get_many(world.held_back)
    right = [_surest(record.predicted_labels) == world.true_labels[record.id] for record in held_back.values()]
    commonest = pd.Series([world.true_labels[video] for video in held_back]).value_counts(normalize=True).iloc[0]
    return {
        "encoded": encoded.encoded + encoded.reused,
        "encode_s": encoded.seconds,
        "videos_per_s": encoded.videos_per_s,
        "failed": sum(encoded.failed.values()),
        "encoder": encoder.id,
        "labels": {
            "accuracy": float(np.mean(right)),
            "clips": len(right),
            "labels": len(head.labels),
            "commonest": float(commonest),
        },
    }


def _surest(labels: dict[str, float]) -> str | None:
    return max(labels, key=lambda name: labels[name], default=None)


def _measure(settings: Settings, home: Home, store: Store, world: World) -> dict[str, Any]:
    held_out = _held_out(world)
    engine = Engine.open(home, store, settings.recommender)
    served = evaluate_served(engine, store, held_out)
    popular = evaluate_served(engine, store, held_out, name="popularity alone", sources={"popular"})
    return {"served": served.as_dict(), "popular": popular.as_dict()}


def _held_out(world: World) -> dict[str, set[str]]:
    """What each viewer liked after the cut and had not met before."""
    events = world.events[world.events["type"] != "impression"]
    says = signals(type_codes(events["type"]), events["value"].to_numpy(np.float64, na_value=np.nan))
    later = (events["occurred_at"] >= world.cut).to_numpy()
    met = set(zip(events["user_id"][~later], events["video_id"][~later], strict=True))
    held_out: dict[str, set[str]] = {}
    liked = events[later & (says > 0)]
    for pair in zip(liked["user_id"], liked["video_id"], strict=True):
        if pair not in met:
            held_out.setdefault(pair[0], set()).add(pair[1])
    return held_out


def _wait_until_ready(address: str, process: "subprocess.Popen[bytes]", log: Path, within_s: float) -> None:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"the server ended with exit code {process.returncode}; its log is {log}")
        try:
            if httpx.get(f"{address}/readyz", timeout=2).status_code == 200:
                return
        except (httpx.HTTPError, json.JSONDecodeError):
            pass
        time.sleep(0.1)
    raise RuntimeError(f"the server did not get ready within {within_s:.0f} s; its log is {log}")
